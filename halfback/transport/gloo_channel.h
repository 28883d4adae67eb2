// The two ends of a channel between ranks of different processes.
//
// A message is a header, then its layout (dtypes and shapes) if that differs from the previous
// message, then the tensors. All have one tag, so they arrive in this order. The receiver posts its
// receives ahead, right after it has taken the previous message: a header, and tensors of that
// message's layout. So most messages arrive in their final place, without a copy or a round trip.
// If the layout differs, empty tensors use up the receives that do not fit.
//
// Capacity is exact. A send waits only while the channel holds `capacity` messages that the
// receiver has not taken. The sender knows what was taken because a header's send ends only after
// its receive is posted. With a capacity of 2 or more, that is once the previous message is taken.
// With 1, nothing is posted ahead, so it is once somebody waits for the message.
#pragma once

#include "halfback/schedule/action.h"
#include "halfback/transport/gloo_peers.h"
#include "halfback/transport/transport.h"

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace halfback {

// Allocates the tensor that a message's tensor is received into.
using Allocate = std::function<at::Tensor(at::IntArrayRef sizes, at::ScalarType dtype)>;

// The layout of a message's tensors, as numbers: how many there are, then for each its dtype (-1:
// undefined), number of dimensions and sizes. Empty before the first message.
using Layout = std::vector<std::int64_t>;

// The first part of every message.
struct GlooHeader {
  std::int64_t kind = 0;
  std::int64_t stage = 0;
  std::int64_t micro_batch = 0;
  std::int64_t slice = 0;
  std::int64_t loss = 0;
  std::int64_t layout_size = 0;  // numbers that follow; 0: the layout of the previous message
};

// Where a channel goes, and what both of its ends need.
struct GlooLink {
  GlooPeers& peers;
  int process = 0;  // at the other end
  int tag = 0;
  int capacity = 1;
};

// The sending end, for the sending rank's thread. A thread of its own waits for Gloo.
class GlooSender {
 public:
  explicit GlooSender(const GlooLink& link);
  ~GlooSender();

  // Keeps the tensors until they are sent. Returns false if the channel is still full at the
  // deadline.
  bool send(const Action& action, Message message, Waits::Clock::time_point deadline);

  // Wakes send(). Stop the peers as well.
  void stop();

  // Returns messages, bytes and seconds in transit of what was sent so far; the route is not set.
  LinkUse use() const;

 private:
  struct Envelope {
    Action action;
    Message message;
  };

  bool is_full() const;
  void run();
  void send_now(const Envelope& envelope);

  const GlooLink link_;
  Layout layout_;  // of the last message; only run() uses it

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Envelope> queue_;
  std::int64_t num_sent_ = 0;     // calls of send()
  std::int64_t num_headers_ = 0;  // headers that the other end has received
  std::optional<std::string> failure_;
  bool is_stopped_ = false;
  LinkUse use_;
  std::thread thread_;
};

// The receiving end, for the receiving rank's thread.
class GlooReceiver {
 public:
  GlooReceiver(const GlooLink& link, Allocate allocate);

  struct Received {
    Action action;  // of the sender
    Message message;
  };

  // Returns nothing if the deadline has passed.
  std::optional<Received> receive(Waits::Clock::time_point deadline);

 private:
  // A tensor to be received; an undefined one has no transfer.
  struct Posted {
    at::Tensor tensor;
    std::unique_ptr<Transfer> transfer;
  };

  std::unique_ptr<Transfer> post(const at::Tensor& tensor);
  void post_message();
  void post_tensors();
  bool wait(Transfer& transfer, Waits::Clock::time_point deadline);
  bool wait_for_tensors(Waits::Clock::time_point deadline);
  bool take_layout(Waits::Clock::time_point deadline);

  const GlooLink link_;
  const Allocate allocate_;
  Layout layout_;  // of the last message
  GlooHeader header_;
  std::unique_ptr<Transfer> header_transfer_;  // none when nothing is posted
  std::vector<Posted> tensors_;
};

}  // namespace halfback
