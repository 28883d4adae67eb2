// Sees to it that all processes of a run learn of a failure, whoever has it and however it looks.
//
// A thread with a store connection of its own writes a sign of life every half second, with what
// the process is doing, and reads those of the others. The first failure in the store is
// everybody's. A second thread touches no store: it watches the first, calls back, and ends the
// process when that has not ended by itself, since no wait inside a library may hold a survivor for
// ever.
#pragma once

#include "halfback/transport/store.h"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace halfback {

struct MonitorOptions {
  int process = 0;
  std::vector<std::string> names;  // of all processes, for messages
  std::string key_prefix;
  std::string store_owner;  // who is to blame when the store is gone
  std::chrono::duration<double> timeout{60};
  std::chrono::duration<double> backstop{3};  // 0: the process is never ended
};

// Thread safe.
class Monitor {
 public:
  // Gives the first sign. All processes must have done so before any of them has a Monitor.
  static void announce(StoreClient& store, const std::string& key_prefix, int process);

  // Keys that are there once a process knows of a failure.
  static std::vector<std::string> heard_keys(const std::string& key_prefix, int num_processes);

  Monitor(std::unique_ptr<StoreClient> store, MonitorOptions options);

  ~Monitor();

  // Reports a failure and returns the first that anybody has reported, with where all processes
  // were at their last signs.
  std::string fail(const std::string& text);

  // The first failure, once it is known here, and whether this process reported it.
  std::optional<std::string> failure() const;
  bool is_own_failure() const;

  // Calls back once when a failure is known, from a thread of the monitor. An empty function takes
  // the callback back, and returns once none runs.
  void on_failure(std::function<void(const std::string& failure)> callback);

  // Asks for what this process is doing, in a line, now and then from a thread of the monitor. An
  // empty function takes the callback back, and returns once none runs.
  void on_position(std::function<std::string()> callback);

  // No silence or closed connection counts as a failure of a process that has left.
  void leave();
  bool has_left(int process) const;

  // Ends the threads. Others will miss this process unless it has left.
  void end();

 private:
  struct State;
  std::shared_ptr<State> state_;  // outlives this where a call to the store does not return
};

}  // namespace halfback
