// The processes of a run: they meet at a store, compare what they must have in common, report
// failures to each other, and leave together.
//
// Every wait has a deadline. A process that is killed, hangs or loses the store's host ends the
// whole run: the first failure counts for all (membership.h), and all stop (stop_together.h).
#pragma once

#include "halfback/transport/stop_together.h"
#include "halfback/transport/wait_notes.h"
#include "halfback/transport/world.h"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace halfback {

class Membership;
class StoreClient;
class StoreServer;

struct ProcessesOptions {
  int num_ranks = 1;                                // dealt out to the processes in blocks
  std::chrono::duration<double> join_timeout{300};  // until all processes are there
  std::chrono::duration<double> timeout{60};  // without a heartbeat, and for every wait for all
  std::chrono::duration<double> backstop{3};  // from a failure until the process is ended; 0: never
  WaitNotes::Report on_wait;  // gets what this process waits for, until all processes are there
  std::chrono::duration<double> note_after{5};
};

// Returns a process's number and ranks, for messages: "process 1 (ranks 2-3)".
std::string process_name(int process, int num_processes, int num_ranks);

class Processes {
 public:
  // Waits until all processes of the world are there. Throws ConfigError if they do not belong
  // together, and TransportError naming those that have not come.
  Processes(World world, ProcessesOptions options);
  ~Processes();

  int index() const { return world_.index; }
  int count() const { return world_.count; }
  const World& world() const { return world_; }
  // The longest wait for all processes once they are there.
  std::chrono::duration<double> timeout() const { return options_.timeout; }

  // Returns "process 1 (ranks 2-3, pid 4711 on host)".
  const std::string& name(int process) const { return names_[static_cast<std::size_t>(process)]; }

  // Returns the prefix of an error that says where it occurred: the name if the processes are on
  // several hosts, "" if all see the same files.
  std::string prefix(int process) const;

  // One thread at a time makes the calls below, and all processes make them in the same order.

  // Does work that may refuse the user's input. If one process throws, all throw the same, even
  // those whose own work succeeded; what the work uses must live until then.
  void prepare(const std::function<void()>& work);

  // Returns the texts of all processes, by process. `what` names them in messages. A `patience`
  // above the timeout leaves the others time for earlier work. Throws RefusedError if one of them
  // has thrown in prepare().
  std::vector<std::string> gather(const std::string& what,
                                  const std::string& text,
                                  std::chrono::duration<double> patience = {});

  // Throws RefusedError if a value is not the same in all processes. It names the first such entry,
  // with both values and processes.
  using Entries = std::vector<std::pair<std::string, std::string>>;  // names and values
  void agree(const Entries& entries);

  // Waits until all processes are here. Afterwards their connections may close.
  void leave();

  // The calls below are thread safe.

  // Reports a failure in this process to all. Returns the first failure of any process: which
  // process failed, and where all of them were.
  std::string fail(const std::string& text);

  // Reports to all processes that another one is gone, unless it has left.
  void report_gone(int process, const std::string& reason);

  // Returns the first failure, once it is known here, and whether this process reported it.
  std::optional<std::string> failure() const;
  bool is_own_failure() const;

  // Sets a callback that is called once when a failure is known: from another thread, or at once if
  // one is known already. An empty function removes it, after a running call has ended.
  void on_failure(std::function<void(const std::string& failure)> callback);

  // Sets the callback that says what this process is doing, in a line such as "rank 2: position 7,
  // 1RECV_F3". It is called at once, and then now and then from another thread. It must not call
  // functions of this object. An empty function removes it, after a running call has ended.
  void on_position(std::function<std::string()> callback);

  // The prefix of this run's keys in the store, and where the process listens for the others: at
  // the interface GLOO_SOCKET_IFNAME if that is set, at loopback if all processes are on one host,
  // else at the address from which this machine reaches the host of the store.
  struct Place {
    std::string key_prefix;
    std::string listens_at;
    std::string interface;  // if empty, listens_at counts
  };
  const Place& place() const { return place_; }

 private:
  class LastWords;

  std::unique_ptr<StoreClient> connect() const;
  void choose_address();
  void take_place();
  void meet();
  void wait_for_all(
      const std::string& what,
      const std::vector<std::string>& keys,
      std::chrono::duration<double> timeout,
      const std::function<void()>& meanwhile = [] {});
  std::string note_of_absent(const std::vector<std::string>& keys) const;
  std::vector<std::string> exchange(const std::string& what,
                                    const std::string& text,
                                    std::chrono::duration<double> patience);
  void serve_until(const std::vector<std::string>& keys, std::chrono::duration<double> timeout);
  std::vector<std::string> keys_of_all(const std::string& name) const;
  std::string store_owner() const;

  const World world_;
  const ProcessesOptions options_;
  Place place_;
  std::vector<std::string> names_;
  bool are_on_one_host_ = true;
  std::unique_ptr<StoreServer> server_;
  std::unique_ptr<StoreClient> store_;
  StopTogether policy_;
  std::unique_ptr<Membership> membership_;
  std::unique_ptr<LastWords> last_words_;
  int num_gathers_ = 0;
};

}  // namespace halfback
