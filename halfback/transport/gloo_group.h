// A Gloo group of our own between the processes of a run.
//
// Gloo's C++ interface needs headers that a torch wheel does not ship, so nothing else here depends
// on this file. Where they are missing, a process group of torch.distributed serves as well
// (process_group.h).
#pragma once

#include "halfback/transport/processes.h"
#include "halfback/transport/transfer_group.h"

#include <memory>

namespace halfback {

// Connects with all other processes within processes.timeout(). All must call it. Throws
// TransportError.
std::shared_ptr<TransferGroup> make_gloo_group(const Processes& processes);

}  // namespace halfback
