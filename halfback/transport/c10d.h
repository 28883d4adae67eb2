// Connects ranks that are spread over processes in blocks: rank r of R is in process r * P / R.
// Messages inside a process go through in_process.h, all others through a group of c10d's
// (gloo_channel.h).
//
// Gloo listens for the other processes at one address, and continues to. A stranger who connects
// later waits and changes nothing; store.h says what is not protected.
#pragma once

#include "halfback/transport/exchange.h"
#include "halfback/transport/gloo_channel.h"
#include "halfback/transport/gloo_peers.h"
#include "halfback/transport/processes.h"
#include "halfback/transport/transfer_group.h"

#include <chrono>
#include <memory>

namespace halfback {

// What a network's timeout is above that of its processes, so that there is time to report that one
// hangs before the waits for its messages end.
inline constexpr std::chrono::seconds kHeadStart{2};

struct C10dOptions {
  Processes& processes;                  // at least two; must outlive the network
  std::shared_ptr<TransferGroup> group;  // of these: gloo_group.h's, or process_group.h's
  int num_ranks = 1;                     // a multiple of the number of processes
  int capacity = 16;  // messages that a channel holds before a send waits; at least 1
  std::chrono::duration<double> timeout{60};

  // Allocates the tensors that arrive from other processes; at::empty if it is not set. Called on
  // the thread of the receiving rank, even for messages that it takes later.
  Allocate allocate;
};

// Reports a process whose connection closes to `processes`, so a killed process is noticed at once,
// before its heartbeats are missed. Create it right after joining. Destroy it after
// Processes::leave(), or the others take its end for a failure.
class C10dNetwork : public Network {
 public:
  // Measures with a few round trips. All processes must call it, from one thread each, while no
  // step runs.
  virtual ClockOffset clock_offset() = 0;
};

// All processes must call it. Throws TransportError.
std::unique_ptr<C10dNetwork> make_c10d_network(const C10dOptions& options);

}  // namespace halfback
