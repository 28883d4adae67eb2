// What a process does about a failure where all processes of a run stand and fall together: it
// stops. It is ended when it does not end by itself, since no wait inside a library may hold a
// survivor for ever.
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

  // The policy: calls back, and ends the process after the backstop.
  void stop(const std::string& failure);

  // Calls back when a failure is known: from the thread that stops, or at once from this one. An
  // empty function takes the callback back, and returns once none runs.
  void on_failure(std::function<void(const std::string& failure)> callback);

 private:
  const std::chrono::duration<double> backstop_;
  std::mutex mutex_;  // held while the callback runs
  std::function<void(const std::string&)> callback_;
  std::optional<std::string> failure_;
};

}  // namespace halfback
