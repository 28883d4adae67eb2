// Equal parts of a flat buffer, one for each copy of a stage.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace halfback {

// Elements [begin, end).
struct ElementRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;

  std::int64_t size() const { return end - begin; }
};

// Shards begin at multiples of this many elements, as parameters do: no vector loop has a remainder
// that it would not have in the whole.
inline constexpr std::int64_t kShardAlignment = 64;

// Returns the shards of so many elements, in order; the last ones may be shorter or empty.
inline std::vector<ElementRange> equal_shards(std::int64_t num_elements, int count) {
  const std::int64_t blocks = (num_elements + kShardAlignment - 1) / kShardAlignment;
  const std::int64_t size = kShardAlignment * ((blocks + count - 1) / count);
  std::vector<ElementRange> shards;
  for (int i = 0; i < count; ++i) {
    shards.push_back({std::min(i * size, num_elements), std::min((i + 1) * size, num_elements)});
  }
  return shards;
}

}  // namespace halfback
