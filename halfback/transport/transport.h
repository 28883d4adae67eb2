// Moves the messages of a schedule between ranks, through channels: one for each ordered pair of
// ranks, first in, first out. A transport never interprets what it carries. Every wait has a
// deadline.
#pragma once

#include "halfback/schedule/action.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <exception>
#include <vector>

namespace halfback {

// What one SEND carries: one tensor in most models. Some may be undefined.
using Message = std::vector<at::Tensor>;

// The two ends of a channel.
struct Route {
  int from = 0;
  int to = 0;
};

// The use of a channel so far, as its sending end knows it.
struct LinkUse {
  Route route;
  std::int64_t messages = 0;
  std::int64_t bytes = 0;  // of tensors
  double seconds = 0.0;    // sum of the messages' times in transit; 0 between threads
};

// A wait ended because another rank stopped first. Never the first error of a step.
class StoppedError : public std::exception {
 public:
  const char* what() const noexcept override { return "stopped because another rank stopped"; }
};

// Called from the threads of its ranks. Waits end with TransportError at the deadline (its text
// says what was waited for), or with StoppedError after stop().
class Transport {
 public:
  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;
  virtual ~Transport() = default;

  // Returns the ranks whose threads are in this process, ascending.
  virtual std::vector<int> local_ranks() const = 0;

  // Puts the tensors of an action (a SEND) into the channel; waits while the channel is full.
  virtual void send(const Route& route, const Action& action, Message message) = 0;

  // Takes the oldest message out of the channel. It must be the one that `action` (a RECV) names.
  virtual Message receive(const Route& route, const Action& action) = 0;

  // Returns the use of every channel from a local rank that has carried anything.
  virtual std::vector<LinkUse> links(int rank) const = 0;

  // Wakes every wait with StoppedError, now and later.
  virtual void stop() = 0;
};

}  // namespace halfback
