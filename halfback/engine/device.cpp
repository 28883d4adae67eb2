#include "halfback/engine/device.h"

#include "halfback/base/error.h"
#include "halfback/engine/memory.h"

#include <ATen/Context.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <fmt/format.h>

#include <charconv>
#include <limits>
#include <system_error>

namespace halfback {

namespace {

constexpr auto kAllPools = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);

int num_devices(at::DeviceType type) {
  return c10::impl::hasDeviceGuardImpl(type) ? c10::impl::getDeviceGuardImpl(type)->deviceCount()
                                             : 0;
}

// Throws ConfigError unless there is such a device.
void require_device(at::Device device) {
  const int count = num_devices(device.type());
  if (count == 0) {
    throw ConfigError(
        fmt::format("device {}: {}; use --device cpu", device.str(),
                    c10::impl::hasDeviceGuardImpl(device.type())
                        ? "none is visible to this process; expected at least one"
                        : "the torch that this program runs with has no support for it"));
  }
  if (device.index() >= count) {
    throw ConfigError(
        fmt::format("device {}: there are {} of them, counted from 0; use --device {}",
                    device.str(), count, c10::DeviceTypeName(device.type(), true)));
  }
}

c10::CachingAllocator::Stat allocated(at::Device device) {
  return c10::getDeviceAllocator(device.type())
      ->getDeviceStats(device.index())
      .allocated_bytes[kAllPools];
}

}  // namespace

at::Device parse_device(const std::string& text) {
  const auto refuse = [&text] {
    return ConfigError(fmt::format("--device is {}; expected cpu, cuda or cuda:K", text));
  };
  constexpr std::string_view kCuda = "cuda";
  if (text == "cpu") {
    return at::kCPU;
  }
  if (!text.starts_with(kCuda)) {
    throw refuse();
  }
  at::Device device(at::kCUDA);
  if (text.size() > kCuda.size()) {
    int index = -1;
    const char* const end = text.data() + text.size();
    const char* const begin = text.data() + kCuda.size() + 1;
    const auto [stop, error] = std::from_chars(begin, end, index);
    if (text[kCuda.size()] != ':' || stop != end || error != std::errc() || index < 0 ||
        index > std::numeric_limits<at::DeviceIndex>::max()) {
      throw refuse();
    }
    device.set_index(static_cast<at::DeviceIndex>(index));
  }
  require_device(device);
  return device;
}

at::Device device_of_rank(at::Device device, int rank) {
  require_device(device);
  if (device.is_cpu() || device.has_index()) {
    return device;
  }
  return {device.type(), static_cast<at::DeviceIndex>(rank % num_devices(device.type()))};
}

void require_reproducible_operators(at::Device device) {
  if (device.is_cpu()) {
    return;
  }
  static const bool is_done = [] {  // once, whichever thread comes first
    at::Context& context = at::globalContext();
    context.setDeterministicAlgorithms(true, /*warn_only=*/false);
    context.setDeterministicFillUninitializedMemory(false);
    context.setDeterministicCuDNN(true);
    context.setBenchmarkCuDNN(false);
    context.setAllowTF32CuDNN(false);
    return true;
  }();
  static_cast<void>(is_done);
}

RankDevice::RankDevice(int rank, at::Device device)
    : rank_(rank),
      device_(device),
      backend_(device.type()),
      stream_(backend_.getNewStream(device)) {}

void RankDevice::enter() const {
  backend_.setDevice(device_);
  backend_.exchangeStream(stream_);
}

void RankDevice::wait() const { backend_.synchronizeStream(stream_); }

void RankDevice::wait_for_others() const {
  backend_.synchronizeStream(c10::Stream(c10::Stream::DEFAULT, device_));
}

at::Tensor RankDevice::take(const at::Tensor& tensor) const {
  if (!tensor.defined()) {
    return tensor;
  }
  at::Tensor own = tensor.to(device_);
  // This memory belongs to another stream, which must not reuse it before our stream is done with
  // it.
  backend_.recordDataPtrOnStream(own.storage().data_ptr(), stream_);
  wait();  // the source may be freed after this
  return own;
}

Tensors RankDevice::take(const Tensors& tensors) const {
  Tensors own;
  own.reserve(tensors.size());
  for (const at::Tensor& tensor : tensors) {
    own.push_back(take(tensor));
  }
  return own;
}

std::int64_t RankDevice::live_bytes() const {
  return device_.is_cpu() ? halfback::live_bytes(rank_) : allocated(device_).current;
}

std::int64_t RankDevice::peak_bytes() const {
  return device_.is_cpu() ? halfback::peak_bytes(rank_) : allocated(device_).peak;
}

void RankDevice::reset_peak() const {
  if (device_.is_cpu()) {
    halfback::reset_peak(rank_);
  } else {
    c10::getDeviceAllocator(device_.type())->resetPeakStats(device_.index());
  }
}

}  // namespace halfback
