// Arithmetic on shapes.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace halfback {

using Shape = std::vector<std::int64_t>;

// Returns the number of elements of a tensor of this shape.
std::int64_t numel(std::span<const std::int64_t> shape);

// Returns the shape with another last size.
Shape with_last_size(std::span<const std::int64_t> shape, std::int64_t size);

// Returns a tensor of the same sizes without memory, for a layer that keeps nothing else of its
// input.
at::Tensor without_memory(const at::Tensor& tensor);

}  // namespace halfback
