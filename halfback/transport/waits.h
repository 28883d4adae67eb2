// Waits for transfers until they end, until a deadline or until stop(), and leaves all connections
// as they are.
//
// A deadline of Gloo's own would close every connection of the process, even the intact ones, and
// its error would reach waits for other things. So Gloo waits without a deadline, and a thread here
// ends the waits that are due.
#pragma once

#include "halfback/transport/transfer_group.h"

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

namespace halfback {

class Waits {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr Clock::time_point kNoDeadline = Clock::time_point::max();

  Waits();
  ~Waits();

  // Returns false if the deadline has passed. Throws StoppedError after stop(), and what the
  // transfer throws.
  bool wait(Transfer& transfer, Clock::time_point deadline);

  // Ends every wait, now and later.
  void stop();

 private:
  void end_late_ones();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<Transfer*, Clock::time_point> waiting_;  // with their deadlines
  Clock::time_point next_look_ = kNoDeadline;       // of the thread
  bool is_stopped_ = false;
  bool is_over_ = false;
  std::thread thread_;
};

}  // namespace halfback
