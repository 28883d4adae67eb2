#include "halfback/schedule/gradient_groups.h"

#include "halfback/base/error.h"

#include <fmt/format.h>

#include <bit>

namespace halfback {

std::vector<int> gradient_groups(const Schedule& schedule, int num_groups) {
  const int replicas = schedule.placement.num_replicas();
  const int per_replica = num_groups / replicas;
  if (num_groups < 1 || num_groups % replicas != 0 ||
      !std::has_single_bit(static_cast<unsigned>(per_replica))) {
    throw ConfigError(
        fmt::format("--gradient-groups is {} with {} replicas of the weights; expected {} times a "
                    "power of two",
                    num_groups, replicas, replicas));
  }
  std::vector<std::vector<int>> micro_batches(static_cast<std::size_t>(replicas));
  for (int m = 0; m < schedule.num_micro_batches; ++m) {
    micro_batches[static_cast<std::size_t>(schedule.placement.replica_of(m))].push_back(m);
  }
  std::vector<int> group_of(static_cast<std::size_t>(schedule.num_micro_batches));
  for (int replica = 0; replica < replicas; ++replica) {
    const std::vector<int>& own = micro_batches[static_cast<std::size_t>(replica)];
    const auto count = static_cast<int>(own.size());
    if (count % per_replica != 0) {
      throw ConfigError(
          fmt::format("--gradient-groups is {}: {} micro-batches of a replica are not "
                      "{} equal groups",
                      num_groups, count, per_replica));
    }
    for (int i = 0; i < count; ++i) {
      group_of[static_cast<std::size_t>(own[static_cast<std::size_t>(i)])] =
          replica * per_replica + i / (count / per_replica);
    }
  }
  if (per_replica > 1 && !weight_gradients_ascend(schedule)) {
    throw ConfigError(
        fmt::format("--gradient-groups is {}: weight gradients of this schedule do not come in "
                    "ascending micro-batch order; use {}",
                    num_groups, replicas));
  }
  return group_of;
}

}  // namespace halfback
