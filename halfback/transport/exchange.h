// Exchanges of tensors between ranks, beside the channels of a schedule: what groups are made of.
#pragma once

#include "halfback/transport/transport.h"

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

namespace halfback {

// What a rank gives to a peer and gets from it in one exchange. Either may be undefined: nothing
// goes that way. Both ends know shape and dtype, and tensors are contiguous.
struct Trade {
  int peer = 0;
  at::Tensor gives;
  at::Tensor gets;  // filled in place
};

// Which exchange it is: all its ends name the same key, from 0, which is free for another one once
// wait() has returned. The texts are for errors.
struct ExchangeName {
  int key = 0;
  const char* operation = "exchange";
  std::shared_ptr<const std::string> group;  // "all 4 ranks"
};

// Returns "all_gather of all 4 ranks".
std::string to_string(const ExchangeName& name);

// An exchange under way. It must be waited for.
class Exchange {
 public:
  Exchange() = default;
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  virtual ~Exchange() = default;

  // Returns when all that this rank gets is there and nobody reads any more what it gives. May be
  // called from another thread than the one that began.
  virtual void wait() = 0;
};

// Waits end as those of a transport.
class Exchanges {
 public:
  Exchanges() = default;
  Exchanges(const Exchanges&) = delete;
  Exchanges& operator=(const Exchanges&) = delete;
  virtual ~Exchanges() = default;

  // Begins trades with peers, and does not wait for them. Exchanges may begin in any order.
  virtual std::unique_ptr<Exchange> begin_exchange(int rank,
                                                   const ExchangeName& name,
                                                   std::vector<Trade> trades) = 0;
};

// All that the ranks of a run have between them. Its stop() ends both kinds of waits.
class Network : public Transport, public Exchanges {};

}  // namespace halfback
