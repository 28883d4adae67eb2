// The other processes of a run, reached through a Gloo group: transfers with deadlines and with
// names in errors, the offset of clocks, and a watch for the end of a process.
#pragma once

#include "halfback/transport/processes.h"
#include "halfback/transport/transfer_group.h"
#include "halfback/transport/waits.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace halfback {

// What to add to this process's steady clock to get that of process 0, and how wrong it can be.
struct ClockOffset {
  double seconds = 0.0;
  double error_seconds = 0.0;
};

class GlooPeers {
 public:
  // Throws TransportError if the group's processes are not those of the run, in their order.
  GlooPeers(Processes& processes,
            std::shared_ptr<TransferGroup> group,
            std::chrono::duration<double> timeout);
  ~GlooPeers();

  // Tags up to this one are taken.
  static constexpr int kLastTag = 1;

  // Begin transfers with a process. Here and below, TransportError says which process is gone.
  std::unique_ptr<Transfer> send(const at::Tensor& tensor, int to, int tag);
  std::unique_ptr<Transfer> receive(const at::Tensor& tensor, int from, int tag);

  // Waits for a transfer with a process. Returns false when the deadline has passed; throws
  // StoppedError after stop().
  bool wait(Transfer& transfer, int process, Waits::Clock::time_point deadline);

  // Waits until deadline(), then throws "waited 10 s for " followed by what awaited() returns.
  void finish(Transfer& transfer, int process, const std::function<std::string()>& awaited);

  Waits::Clock::time_point deadline() const;
  [[noreturn]] void throw_late(const std::string& awaited) const;

  // Ends every wait, now and later.
  void stop() { waits_.stop(); }

  // All processes must call it at the same time.
  ClockOffset clock_offset();

 private:
  template <typename Call>
  auto naming(int process, Call&& call);
  void watch_next();
  double take_number(int from);
  void give_number(double number, int to);

  Processes& processes_;
  const std::chrono::duration<double> timeout_;
  const std::shared_ptr<TransferGroup> group_;
  Waits waits_;
  std::vector<std::int64_t> nothing_;
  std::unique_ptr<Transfer> watched_;  // a tensor that the next process never sends
  std::thread watcher_;
};

}  // namespace halfback
