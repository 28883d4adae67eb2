// Sends tensors between processes through c10d's Gloo process group, behind a header without c10d's
// own, which takes 20 s to compile.
//
// What to know about Gloo, as observed with libtorch 2.13:
//   Transfers between two processes with one tag match in the order in which both ends begin them.
//   A send ends once it has matched its receive.
//   A tensor larger than its receive ends the process; a smaller one is accepted silently.
//   When a deadline of Gloo's passes, it closes all connections of the process, so we give it none.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <memory>
#include <string>

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

struct GlooOptions {
  int process = 0;
  int num_processes = 1;
  std::string store_host;
  int store_port = 0;
  std::string key_prefix;                     // of the keys that it writes to the store
  std::string listens_at;                     // a host name or address
  std::string interface;                      // the name of an interface, used instead if not empty
  std::chrono::duration<double> timeout{60};  // to connect with all others
};

// Thread safe.
class GlooGroup {
 public:
  explicit GlooGroup(const GlooOptions& options);
  ~GlooGroup();

  // Begin transfers of contiguous tensors. Throw TransportError when the connection is closed.
  std::unique_ptr<Transfer> send(const at::Tensor& tensor, int to, int tag);
  std::unique_ptr<Transfer> receive(const at::Tensor& tensor, int from, int tag);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace halfback
