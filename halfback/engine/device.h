// Where a rank computes, through torch's own device-neutral interface: one build serves the CPU and
// whatever devices the torch beside it knows.
//
// On a device each rank has a stream of its own. An action ends when its work there has ended, so
// that spans tell the truth and a message is whole when it is sent; the price is one wait of the
// host for each action, during which nothing is queued for the device.
#pragma once

#include "halfback/layers/layer.h"

#include <c10/core/Device.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <cstdint>
#include <string>

namespace halfback {

// Reads "cpu", "cuda" or "cuda:K". Throws ConfigError for anything else, and for a device that is
// not there.
at::Device parse_device(const std::string& text);

// Returns where a rank computes. A device with a number is that one; without, ranks are dealt out
// over all of its kind, rank r to r modulo their number. Throws ConfigError where there is none.
at::Device device_of_rank(at::Device device, int rank);

// Has operators that know several ways take one that adds in a fixed order, or fail, and products
// in float32 have all its bits, in this process from now on. Nothing for the CPU, whose operators
// are so without.
void require_reproducible_operators(at::Device device);

class RankDevice {
 public:
  // `device` as device_of_rank returns it.
  RankDevice(int rank, at::Device device);

  at::Device device() const { return device_; }

  // From here on the calling thread works on the device, in the rank's stream.
  void enter() const;

  // Waits until all that the rank has begun there has ended.
  void wait() const;
  // Waits until all that threads outside the ranks have begun there has ended.
  void wait_for_others() const;

  // Returns what another rank has made, on this device. The other's work on it must have ended.
  at::Tensor take(const at::Tensor& tensor) const;
  Tensors take(const Tensors& tensors) const;

  // Bytes that are alive now, and the most since the last reset_peak. On the CPU those of the rank,
  // as tensors ask for them (memory.h); elsewhere those of the device, which other ranks may share,
  // as its caching allocator rounds them.
  std::int64_t live_bytes() const;
  std::int64_t peak_bytes() const;
  void reset_peak() const;

 private:
  int rank_;
  at::Device device_;
  c10::impl::VirtualGuardImpl backend_;
  c10::Stream stream_;
};

}  // namespace halfback
