// The members of a run: detects the failure of any process and reports it to all others. All agree
// on which failure was the first.
//
// A thread with its own store connection writes a heartbeat every half second, with what the
// process is doing, and reads those of the others. The first failure that is reported to the store
// counts for all. A second thread does not touch the store: it watches the first thread and passes
// the failure to a policy, which decides what happens to this process.
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
  std::vector<std::string> heartbeat_keys;  // of all; each already holds kFirstHeartbeat
  std::string failure_key;                  // of the first failure
  std::string heard_key;                    // set once this process knows of it
  std::string store_owner;                  // who has failed if the store is gone
  std::chrono::duration<double> timeout{60};
};

// Thread safe.
class Membership {
 public:
  // Called once when a failure is known, from a thread of the membership.
  using Policy = std::function<void(const std::string& failure)>;

  Membership(std::unique_ptr<StoreClient> store, MembershipOptions options, Policy policy);
  ~Membership();

  // Reports a failure. Returns the first one that anybody has reported, with the positions of all
  // processes at their last heartbeats.
  std::string report(const std::string& text);

  // Returns the first failure, once it is known here, and whether this process reported it.
  std::optional<std::string> failure() const;
  bool is_own_failure() const;

  // Sets the callback that says in a line what this process is doing. A thread of the membership
  // calls it now and then. An empty function removes the callback, after a running call has ended.
  void on_position(std::function<std::string()> callback);

  // Once a process has left, neither its silence nor a closed connection counts as a failure.
  void leave();
  bool has_left(int process) const;

  // Ends the threads, including the policy's call. The others will report this process as failed
  // unless it has left.
  void end();

 private:
  struct State;
  std::shared_ptr<State> state_;  // outlives this if a call to the store does not return
  std::thread talker_;
  std::thread watcher_;
};

}  // namespace halfback
