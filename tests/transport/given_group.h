// A process group as a user of Python's torch.distributed would give it.
#pragma once

#include "halfback/transport/processes.h"
#include "halfback/transport/transfer_group.h"

#include <memory>

namespace halfback::testing {

// How the group is made: as it should be, or with a mistake.
enum class Given { Right, Reversed, TooSmall, OtherBackend, NoBackend, Twice };

// Returns what process_group.h makes of such a group. Its own timeout is 2 s.
std::shared_ptr<TransferGroup> given_group(const Processes& processes, Given given);

}  // namespace halfback::testing
