// The two ends of a channel between ranks of different processes.
//
// A message is a header, then its layout (dtypes and shapes) if that differs from the message
// before, then the tensors, all under one tag and so in this order. The receiver posts its receives
// ahead, right after it has taken the message before: a header, and tensors of that message's
// layout. So most messages land where they stay, without a copy or a question. If the layout
// differs, empty tensors use up the receives that do not fit.
//
// Capacity is exact. A send waits only while the channel holds `capacity` messages that the
// receiver has not taken. The sender knows what was taken because a header's send ends only after
// its receive is posted: with a capacity of 2 or more once the message before is taken, with 1
// (nothing is posted ahead) once somebody waits for it.
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

// Allocates the tensor that a received one arrives in.
using Allocate = std::function<at::Tensor(at::IntArrayRef sizes, at::ScalarType dtype)>;

// The layout of a message's tensors, as numbers: how many there are, then the dtype (-1:
// undefined), number of dimensions and sizes of each. Empty before the first message.
using Layout = std::vector<std::int64_t>;

// The first part of every message.
struct GlooHeader {
  std::int64_t kind = 0;
  std::int64_t stage = 0;
  std::int64_t micro_batch = 0;
  std::int64_t slice = 0;
  std::int64_t layout_size = 0;  // numbers that follow; 0: the layout of the message before
};

// Where a channel goes, and what both of its ends need.
struct GlooLink {
  GlooPeers& peers;
  int process = 0;  // at the other end
  int tag = 0;
  int capacity = 1;
};

// The sending end. The sending rank's thread uses it; a thread of its own waits for Gloo.
class GlooSender {
 public:
  explicit GlooSender(const GlooLink& link);
  ~GlooSender();

  // Keeps the tensors until they are sent. Returns false when the deadline has passed and the
  // channel is still full.
  bool send(const Action& action, Message message, Waits::Clock::time_point deadline);

  // Wakes send(). Stop the peers as well.
  void stop();

  // Returns messages, bytes and seconds under way of what was sent so far; the route is not set.
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
  std::int64_t num_headers_ = 0;  // that the other end has received
  std::optional<std::string> failure_;
  bool is_stopped_ = false;
  LinkUse use_;
  std::thread thread_;
};

// The receiving end. The receiving rank's thread uses it.
class GlooReceiver {
 public:
  GlooReceiver(const GlooLink& link, Allocate allocate);

  struct Received {
    Action action;  // of the sender
    Message message;
  };

  // Returns nothing when the deadline has passed.
  std::optional<Received> receive(Waits::Clock::time_point deadline);

 private:
  // A tensor that is to arrive; an undefined one has no transfer.
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
