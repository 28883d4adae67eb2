#include "halfback/views/headline.h"

#include <fmt/format.h>

namespace halfback {

std::string headline(const Schedule& schedule) {
  const auto count = [](int number, const char* one, const char* many) {
    return fmt::format("{} {}", number, number == 1 ? one : many);
  };
  const int num_replicas = schedule.placement.num_replicas();
  return fmt::format("{}: {}, {}, {}, {}{} backward", schedule.name,
                     count(schedule.num_ranks(), "rank", "ranks"),
                     count(schedule.num_stages(), "stage", "stages"),
                     count(schedule.num_micro_batches, "micro-batch", "micro-batches"),
                     num_replicas > 1 ? fmt::format("{} replicas, ", num_replicas) : "",
                     is_two_stage(schedule) ? "split" : "fused") +
         (schedule.losses.is_backprop() ? "" : ", losses " + brief_losses(schedule.losses));
}

}  // namespace halfback
