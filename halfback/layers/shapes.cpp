#include "halfback/layers/shapes.h"

#include <ATen/ops/empty.h>

#include <functional>
#include <numeric>

namespace halfback {

std::int64_t numel(std::span<const std::int64_t> shape) {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

Shape with_last_size(std::span<const std::int64_t> shape, std::int64_t size) {
  Shape changed(shape.begin(), shape.end());
  changed.back() = size;
  return changed;
}

at::Tensor without_memory(const at::Tensor& tensor) {
  return at::empty(tensor.sizes(), at::TensorOptions(at::kMeta));
}

}  // namespace halfback
