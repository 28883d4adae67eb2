// Sends tensors between the processes of a run through a group of c10d's, behind a header without
// c10d's own, which takes 20 s to compile. The group is ours (gloo_group.h) or somebody else's
// (process_group.h). Both use Gloo.
//
// What to know about Gloo, as observed with libtorch 2.13:
//   Transfers between two processes with one tag match in the order in which both ends begin them.
//   A send ends once it has matched its receive.
//   A tensor larger than its receive ends the process; a smaller one is accepted silently.
//   A receive that nobody waits for any more stays. A message for it blocks the connection forever.
//   When a deadline of Gloo's passes, it closes all connections of the group, so we give it none.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

namespace halfback {

// A tensor in transit, which this keeps alive. Gloo does not touch it after the destructor.
class Transfer {
 public:
  Transfer() = default;
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;
  virtual ~Transfer() = default;

  // Returns true when the transfer is done, false after abort(). Throws TransportError with the
  // reason if the connection is closed.
  virtual bool wait() = 0;

  // Ends the wait, from any thread, before or after it began.
  virtual void abort() = 0;
};

// Thread safe.
class TransferGroup {
 public:
  TransferGroup() = default;
  TransferGroup(const TransferGroup&) = delete;
  TransferGroup& operator=(const TransferGroup&) = delete;
  virtual ~TransferGroup() = default;

  // Which of its processes this one is, and how many there are.
  virtual int index() const = 0;
  virtual int count() const = 0;

  // Begin transfers of contiguous tensors on the CPU. Throw TransportError when the connection is
  // closed.
  virtual std::unique_ptr<Transfer> send(const at::Tensor& tensor, int to, int tag) = 0;
  virtual std::unique_ptr<Transfer> receive(const at::Tensor& tensor, int from, int tag) = 0;
};

}  // namespace halfback
