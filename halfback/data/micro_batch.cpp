#include "halfback/data/micro_batch.h"

#include <algorithm>

namespace halfback {

std::int64_t num_targets(std::span<const MicroBatch> micro_batches) {
  std::int64_t count = 0;
  for (const MicroBatch& one : micro_batches) {
    if (one.count) {
      count += *one.count;
      continue;
    }
    const auto* const targets = one.targets.const_data_ptr<std::int64_t>();
    count += std::count_if(targets, targets + one.targets.numel(),
                           [](std::int64_t target) { return target >= 0; });
  }
  return count;
}

double loss_divisor(std::span<const MicroBatch> micro_batches) {
  return static_cast<double>(std::max<std::int64_t>(num_targets(micro_batches), 1));
}

}  // namespace halfback
