// Who is in a run, who is silent, and what failed first, as all of its processes see it, whoever
// has a failure and however it looks.
//
// A thread with a store connection of its own writes a heartbeat every half second, with what the
// process is doing, and reads those of the others. The first failure that is reported to the store
// is everybody's. A second thread touches no store: it watches the first, and hands the failure to
// a policy. What becomes of this process then is for the policy to decide.
#pragma once

#include "halfback/transport/heartbeats.h"
#include "halfback/transport/store.h"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace halfback {

struct MembershipOptions {
  std::size_t process = 0;
  std::vector<std::string> names;           // of all processes, for messages
  std::vector<std::string> heartbeat_keys;  // of all; each holds kFirstHeartbeat by now
  std::string failure_key;                  // of the first failure
  std::string heard_key;                    // of what tells that this process knows of it
  std::string store_owner;                  // who is to blame when the store is gone
  std::chrono::duration<double> timeout{60};
};

// Thread safe.
class Membership {
 public:
  // Is called once when a failure is known, from a thread of the membership.
  using Policy = std::function<void(const std::string& failure)>;

  Membership(std::unique_ptr<StoreClient> store, MembershipOptions options, Policy policy);
  ~Membership();

  // Reports a failure and returns the first that anybody has reported, with where all processes
  // were at their last heartbeats.
  std::string report(const std::string& text);

  // The first failure, once it is known here, and whether this process reported it.
  std::optional<std::string> failure() const;
  bool is_own_failure() const;

  // Asks for what this process is doing, in a line, now and then from a thread of the membership.
  // An empty function takes the callback back, and returns once none runs.
  void on_position(std::function<std::string()> callback);

  // No silence or closed connection counts as a failure of a process that has left.
  void leave();
  bool has_left(int process) const;

  // Ends the threads, the policy's call included. Others will miss this process unless it has left.
  void end();

 private:
  struct State;
  std::shared_ptr<State> state_;  // outlives this where a call to the store does not return
  std::thread talker_;
  std::thread watcher_;
};

}  // namespace halfback
