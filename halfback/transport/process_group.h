// Transfers over a process group of c10d's that somebody else made, such as Python's
// torch.distributed. Compiles with the headers that a torch wheel ships.
//
// What the group must be:
//   Its CPU tensors go through Gloo. Channels rely on what transfer_group.h says of it; MPI's and
//   UCC's work, for instance, cannot be aborted.
//   It serves one network and nothing else, before and after: in Python, a
//   new_group(backend="gloo") of its own. Other traffic could take our messages, and a deadline of
//   it would close our connections. The receives that a network leaves behind block whoever sends
//   to them later. Its timeout may be any: that is for connecting and for collectives. Our waits
//   may be longer.
#pragma once

#include "halfback/transport/transfer_group.h"

#include <c10/util/intrusive_ptr.h>

#include <memory>

namespace c10d {
class Backend;
class ProcessGroup;
}  // namespace c10d

namespace halfback {

// Returns the transfers of a group, which it keeps alive. Throws TransportError if the group does
// not use Gloo or has been given before.
std::shared_ptr<TransferGroup> transfers_over(const c10::intrusive_ptr<c10d::ProcessGroup>& group);

// The same for a backend, which must be Gloo's and new.
std::shared_ptr<TransferGroup> transfers_over_backend(c10::intrusive_ptr<c10d::Backend> backend);

}  // namespace halfback
