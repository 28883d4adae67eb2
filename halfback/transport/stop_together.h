// The policy of runs whose processes stop together: after a failure, this process stops. If it does
// not end by itself, it is ended, since no wait inside a library may hold a survivor forever.
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

namespace halfback {

// Thread safe.
class StopTogether {
 public:
  // The backstop is the time until the process is ended; 0: it is never ended.
  explicit StopTogether(std::chrono::duration<double> backstop) : backstop_(backstop) {}

  // The policy: calls the callback, and ends the process after the backstop.
  void stop(const std::string& failure);

  // Sets a callback that is called when a failure is known: from the thread that stops, or at once
  // from this one. An empty function removes it, after a running call has ended.
  void on_failure(std::function<void(const std::string& failure)> callback);

 private:
  const std::chrono::duration<double> backstop_;
  std::mutex mutex_;  // held while the callback runs
  std::function<void(const std::string&)> callback_;
  std::optional<std::string> failure_;
};

}  // namespace halfback
