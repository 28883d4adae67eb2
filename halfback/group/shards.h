// Equal parts of a flat buffer, one for each member of a group.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace halfback {

// Elements [begin, end).
struct ElementRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;

  std::int64_t size() const { return end - begin; }
};

// Parameters and shards of a flat buffer begin at multiples of this many elements, so that no
// vector loop has a remainder that it would not have in the whole buffer.
inline constexpr std::int64_t kElementAlignment = 64;

// Returns the shards of a buffer, in order; the last ones may be shorter or empty.
std::vector<ElementRange> equal_shards(std::int64_t num_elements, std::size_t count);

// Returns the shards as parts of a flat buffer.
std::vector<at::Tensor> shards_of(const at::Tensor& buffer, std::size_t count);

}  // namespace halfback
