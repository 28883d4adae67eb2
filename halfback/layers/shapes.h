// Arithmetic on shapes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace halfback {

// Returns the number of elements of a tensor of this shape.
std::int64_t numel(std::span<const std::int64_t> shape);

// Returns the shape with another last size.
std::vector<std::int64_t> with_last_size(std::span<const std::int64_t> shape, std::int64_t size);

}  // namespace halfback
