// Exchanges of tensors between ranks, beside the channels of a schedule. Groups are built on them.
#pragma once

#include "halfback/transport/transport.h"

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

namespace halfback {

// What a rank gives to a peer and gets from it in one exchange. An undefined tensor means that
// nothing is sent in that direction. Both ends know shape and dtype, and tensors are contiguous.
struct PeerTensors {
  int peer = 0;
  at::Tensor gives;
  at::Tensor gets;  // filled in place
};

// Identifies an exchange. All its ends give the same key, which counts from 0 and may be used again
// once wait() has returned. The texts are for errors.
struct ExchangeName {
  int key = 0;
  const char* operation = "exchange";
  std::shared_ptr<const std::string> group;  // "all 4 ranks"
};

// Returns "all_gather of all 4 ranks".
std::string to_string(const ExchangeName& name);

// An exchange in progress. Somebody must wait for it.
class Exchange {
 public:
  Exchange() = default;
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  virtual ~Exchange() = default;

  // Returns when this rank has received everything and nobody reads what it gives any more. May be
  // called from a thread other than the one that began the exchange.
  virtual void wait() = 0;
};

// Its waits end as those of a Transport do.
class Exchanges {
 public:
  Exchanges() = default;
  Exchanges(const Exchanges&) = delete;
  Exchanges& operator=(const Exchanges&) = delete;
  virtual ~Exchanges() = default;

  // Begins an exchange with peers and does not wait for it. Exchanges may begin in any order.
  virtual std::unique_ptr<Exchange> begin_exchange(int rank,
                                                   const ExchangeName& name,
                                                   std::vector<PeerTensors> tensors) = 0;
};

// The channels and exchanges between the ranks of a run. Its stop() ends the waits of both.
class Network : public Transport, public Exchanges {};

}  // namespace halfback
