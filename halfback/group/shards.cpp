#include "halfback/group/shards.h"

#include <algorithm>

namespace halfback {

std::vector<ElementRange> equal_shards(std::int64_t num_elements, std::size_t count) {
  const auto parts = static_cast<std::int64_t>(count);
  const std::int64_t blocks = (num_elements + kElementAlignment - 1) / kElementAlignment;
  const std::int64_t size = kElementAlignment * ((blocks + parts - 1) / parts);
  std::vector<ElementRange> shards;
  for (std::int64_t i = 0; i < parts; ++i) {
    shards.push_back({std::min(i * size, num_elements), std::min((i + 1) * size, num_elements)});
  }
  return shards;
}

std::vector<at::Tensor> shards_of(const at::Tensor& buffer, std::size_t count) {
  std::vector<at::Tensor> shards;
  for (const ElementRange& range : equal_shards(buffer.numel(), count)) {
    shards.push_back(buffer.narrow(0, range.begin, range.size()));
  }
  return shards;
}

}  // namespace halfback
