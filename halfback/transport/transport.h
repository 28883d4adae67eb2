// Moves tensors between ranks, by channels: one per ordered pair of ranks, first in, first out.
// A transport never interprets what it carries; every wait has a deadline.
#pragma once

#include "halfback/schedule/action.h"

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace halfback {

// What one SEND carries: one tensor for most models; some may be undefined.
using Message = std::vector<at::Tensor>;

// The two ends of a channel.
struct Route {
  int from = 0;
  int to = 0;
};

// A wait ended because another rank stopped first. Never the first error of a step.
class StoppedError : public std::exception {
 public:
  const char* what() const noexcept override { return "stopped because another rank stopped"; }
};

// Called from one thread per rank. Waits end with TransportError at the deadline (its text says
// what was waited for), or with StoppedError after stop().
class Transport {
 public:
  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;
  virtual ~Transport() = default;

  // Puts the tensors of an action (a SEND) into the channel; waits while the channel is full.
  virtual void send(const Route& route, const Action& action, Message message) = 0;

  // Takes the oldest message out of the channel, which must be the one that `action` (a RECV)
  // means.
  virtual Message receive(const Route& route, const Action& action) = 0;

  // Gives a tensor to the other end (route.to) and returns what that one gives. Both ends must call
  // it, and in the same order where they do so often.
  virtual at::Tensor swap(const Route& route, at::Tensor tensor) = 0;

  // Returns the values of all ranks, by rank. Every rank must call it.
  virtual std::vector<std::vector<double>> all_gather(int rank, std::vector<double> values) = 0;

  // Wakes every wait with StoppedError, now and later.
  virtual void stop() = 0;
};

}  // namespace halfback
