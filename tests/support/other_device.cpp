#include "tests/support/other_device.h"

#include "halfback/base/error.h"

#include <ATen/EmptyTensor.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/view_native.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <optional>
#include <tuple>
#include <utility>

namespace halfback::testing {

namespace {

thread_local c10::DeviceIndex current_device = 0;
thread_local std::array<c10::StreamId, kNumOtherDevices> current_streams = {};
std::atomic<c10::StreamId> last_stream{0};
std::atomic<int> stream_waits{0};

c10::Device device_at(c10::DeviceIndex index) { return {kOtherDevice, index}; }

std::size_t place(const c10::Device& device) {
  return static_cast<std::size_t>(device.has_index() ? device.index() : current_device);
}

c10::Stream stream_at(const c10::Device& device, c10::StreamId id) {
  return c10::Stream(c10::Stream::UNSAFE, device, id);
}

class Guard final : public c10::impl::DeviceGuardImplInterface {
 public:
  c10::DeviceType type() const override { return kOtherDevice; }
  c10::Device exchangeDevice(c10::Device device) const override {
    const c10::Device previous = getDevice();
    setDevice(device);
    return previous;
  }
  c10::Device getDevice() const override { return device_at(current_device); }
  void setDevice(c10::Device device) const override { uncheckedSetDevice(device); }
  void uncheckedSetDevice(c10::Device device) const noexcept override {
    current_device = static_cast<c10::DeviceIndex>(place(device));
  }
  c10::Stream getStream(c10::Device device) const override {
    return stream_at(device, current_streams[place(device)]);
  }
  c10::Stream getNewStream(c10::Device device, int /*priority*/) const override {
    return stream_at(device, ++last_stream);
  }
  c10::Stream exchangeStream(c10::Stream stream) const override {
    return stream_at(stream.device(),
                     std::exchange(current_streams[place(stream.device())], stream.id()));
  }
  c10::DeviceIndex deviceCount() const noexcept override { return kNumOtherDevices; }
  void synchronizeStream(const c10::Stream& /*stream*/) const override { ++stream_waits; }
};

// Sits in front of every block.
struct alignas(64) Header {
  std::int64_t bytes;
  c10::DeviceIndex device;
};

struct Count {
  std::atomic<std::int64_t> live{0};
  std::atomic<std::int64_t> peak{0};
};
std::array<Count, kNumOtherDevices> counts;

Count& count_of(c10::DeviceIndex device) { return counts[static_cast<std::size_t>(device)]; }

void release(void* data) {
  if (data != nullptr) {
    auto* const header = static_cast<Header*>(data) - 1;
    count_of(header->device).live -= header->bytes;
    std::free(header);
  }
}

// What tensors have for an address is one that nobody can read: who takes it for memory of the CPU
// ends the test.
constexpr std::uintptr_t kVeil = std::uintptr_t{1} << 62;

void* veiled(void* data) {
  return reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(data) ^ kVeil);
}

class Allocator final : public c10::DeviceAllocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    const c10::Device device = device_at(current_device);
    if (bytes == 0) {
      return {nullptr, nullptr, &release, device};
    }
    const std::size_t blocks = (bytes + sizeof(Header) - 1) / sizeof(Header) + 1;
    auto* const header =
        static_cast<Header*>(std::aligned_alloc(alignof(Header), blocks * sizeof(Header)));
    *header = {.bytes = static_cast<std::int64_t>(bytes), .device = current_device};
    Count& count = count_of(current_device);
    const std::int64_t live = count.live += header->bytes;
    std::int64_t peak = count.peak;
    while (live > peak && !count.peak.compare_exchange_weak(peak, live)) {
    }
    return {veiled(header + 1), header + 1, &release, device};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    std::memcpy(veiled(to), veiled(const_cast<void*>(from)), bytes);
  }
  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t /*pool*/) override {}
  void recordStream(const c10::DataPtr& /*data*/, c10::Stream /*stream*/) override {}
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex device) override {
    c10::CachingDeviceAllocator::DeviceStats stats;
    stats.allocated_bytes[0].current = count_of(device).live;
    stats.allocated_bytes[0].peak = count_of(device).peak;
    return stats;
  }
  void resetAccumulatedStats(c10::DeviceIndex /*device*/) override {}
  void resetPeakStats(c10::DeviceIndex device) override {
    count_of(device).peak = count_of(device).live.load();
  }
};

Allocator& allocator() {
  static auto* const one = new Allocator();  // outlives all tensors
  return *one;
}

constexpr c10::DispatchKeySet kKeys(c10::DispatchKey::PrivateUse1);

at::Tensor empty(at::IntArrayRef size,
                 std::optional<at::ScalarType> dtype,
                 std::optional<at::Layout> /*layout*/,
                 std::optional<at::Device> device,
                 std::optional<bool> /*pin_memory*/,
                 std::optional<at::MemoryFormat> format) {
  const c10::OptionalDeviceGuard guard(device);
  return at::detail::empty_generic(size, &allocator(), kKeys, dtype.value_or(at::kFloat), format);
}

at::Tensor empty_strided(at::IntArrayRef size,
                         at::IntArrayRef stride,
                         std::optional<at::ScalarType> dtype,
                         std::optional<at::Layout> /*layout*/,
                         std::optional<at::Device> device,
                         std::optional<bool> /*pin_memory*/) {
  const c10::OptionalDeviceGuard guard(device);
  return at::detail::empty_strided_generic(size, stride, &allocator(), kKeys,
                                           dtype.value_or(at::kFloat));
}

// The same memory as a tensor of the CPU.
at::Tensor on_cpu(const at::Tensor& tensor) {
  return tensor.is_cpu() || tensor.numel() == 0
             ? tensor.is_cpu() ? tensor : at::empty(tensor.sizes(), tensor.scalar_type())
             : at::from_blob(veiled(tensor.mutable_data_ptr()), tensor.sizes(), tensor.strides(),
                             at::TensorOptions(tensor.scalar_type()));
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool /*non_blocking*/) {
  on_cpu(to).copy_(on_cpu(from));
  return to;
}

at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  if (from.sizes() != to.sizes()) {
    to.unsafeGetTensorImpl()->shallow_copy_from(
        at::empty(from.sizes(), to.options()).getIntrusivePtr());
  }
  return copy_from(from, to, false);
}

at::Tensor convolution(const at::Tensor& input,
                       const at::Tensor& weight,
                       const std::optional<at::Tensor>& bias,
                       at::IntArrayRef stride,
                       at::IntArrayRef padding,
                       at::IntArrayRef dilation,
                       bool transposed,
                       at::IntArrayRef output_padding,
                       std::int64_t groups) {
  return at::convolution(input.cpu(), weight.cpu(),
                         bias && bias->defined() ? std::optional(bias->cpu()) : std::nullopt,
                         stride, padding, dilation, transposed, output_padding, groups)
      .to(input.device());
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> convolution_backward(const at::Tensor& grad_output,
                                                                    const at::Tensor& input,
                                                                    const at::Tensor& weight,
                                                                    at::IntArrayRef stride,
                                                                    at::IntArrayRef padding,
                                                                    at::IntArrayRef dilation,
                                                                    bool transposed,
                                                                    at::IntArrayRef output_padding,
                                                                    std::int64_t groups,
                                                                    std::array<bool, 3> wanted) {
  const auto [grad_input, grad_weight, grad_bias] = at::convolution_backward(
      grad_output.cpu(), input.cpu(), weight.cpu(), weight.sizes().slice(0, 1), stride, padding,
      dilation, transposed, output_padding, groups, wanted);
  const auto back = [&](const at::Tensor& one) {
    return one.defined() ? one.to(input.device()) : one;
  };
  return {back(grad_input), back(grad_weight), back(grad_bias)};
}

// Any other operator.
void run_on_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  std::optional<c10::Device> seen;
  const auto check = [&](const at::Tensor& tensor) {
    if (tensor.defined() && tensor.dim() > 0) {
      HALFBACK_CHECK(!seen || *seen == tensor.device(),
                     op.schema().name() + " takes tensors of two devices");
      seen = tensor.device();
    }
  };
  for (const c10::IValue& value : torch::jit::last(*stack, op.schema().arguments().size())) {
    if (value.isTensor()) {
      check(value.toTensor());
    } else if (value.isTensorList()) {
      for (const at::Tensor& tensor : value.toTensorVector()) {
        check(tensor);
      }
    }
  }
  at::native::cpu_fallback(op, stack);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_cpu>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("_copy_from", copy_from);
  m.impl("_copy_from_and_resize", copy_from_and_resize);
  m.impl("as_strided", at::native::as_strided_tensorimpl);
  m.impl("view", at::native::view);
  m.impl("_reshape_alias", at::native::_reshape_alias);
  m.impl("convolution_overrideable", convolution);
  m.impl("convolution_backward_overrideable", convolution_backward);
}

}  // namespace

int num_stream_waits() { return stream_waits; }

void install_other_devices() {
  static const bool is_done = [] {
    c10::SetAllocator(kOtherDevice, &allocator());
    static const auto* const guard = new Guard();
    static const c10::impl::DeviceGuardImplRegistrar registrar(kOtherDevice, guard);
    return true;
  }();
  static_cast<void>(is_done);
}

}  // namespace halfback::testing
