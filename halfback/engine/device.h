// Where a rank computes, through torch's own device-neutral interface: one build serves the CPU and
// every device that the installed torch supports.
//
// On a device, each rank has its own stream. An action ends when its work on the device has ended,
// so spans are true and a message is complete when it is sent. The cost is one wait of the host per
// action, during which nothing is queued for the device.
#pragma once

#include "halfback/layers/layer.h"

#include <c10/core/Device.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <cstdint>
#include <string>

namespace halfback {

// Reads "cpu", "cuda" or "cuda:K". Throws ConfigError for anything else, and for a device that does
// not exist.
at::Device parse_device(const std::string& text);

// Returns where a rank computes: on `device` if it has an index, else on number `rank` modulo count
// of all devices of its kind. Throws ConfigError if there is none.
at::Device device_of_rank(at::Device device, int rank);

// Makes operators of this process deterministic from now on: they add in a fixed order or fail, and
// float32 products use no shorter type. Does nothing for the CPU, whose operators already do so.
void require_reproducible_operators(at::Device device);

class RankDevice {
 public:
  // `device` comes from device_of_rank().
  RankDevice(int rank, at::Device device);

  at::Device device() const { return device_; }

  // Makes the calling thread work on the device, in the rank's stream, from now on.
  void enter() const;

  // Waits for everything that the rank has begun there.
  void wait() const;
  // Waits for everything that threads outside the ranks have begun there.
  void wait_for_others() const;

  // Returns another rank's tensor on this device. The other rank's work on it must have ended.
  at::Tensor take(const at::Tensor& tensor) const;
  Tensors take(const Tensors& tensors) const;

  // Live bytes, and their peak since the last reset_peak. On the CPU they are the rank's, as
  // tensors request them (memory.h). Elsewhere they are the device's, which other ranks may share,
  // as rounded by its caching allocator.
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
