#include "halfback/base/error.h"
#include "halfback/schedule/builders.h"
#include "halfback/schedule/rank_list.h"
#include "halfback/schedule/search/order_search.h"

#include <fmt/format.h>

#include <string>

namespace halfback {

namespace {

SearchProblem problem_of(const PipelineShape& shape, Placement placement) {
  return {.placement = std::move(placement),
          .num_micro_batches = shape.num_micro_batches,
          .two_stage = shape.two_stage,
          .times = shape.times,
          .memory_limit = shape.memory_limit,
          .released_at_input = shape.released_at_input};
}

}  // namespace

Schedule build_zb_looped(const PipelineShape& shape) {
  check_shape("zb-looped", shape);
  require_two_stage("zb-looped", shape);
  return search_order("zb-looped",
                      problem_of(shape, looped_placement(shape.num_ranks, shape.stages_per_rank)));
}

Schedule build_zb_wave(const PipelineShape& shape) {
  check_shape("zb-wave", shape);
  require_two_stage("zb-wave", shape);
  return search_order("zb-wave",
                      problem_of(shape, wave_placement(shape.num_ranks, shape.stages_per_rank)));
}

Schedule build_hanayo(const PipelineShape& shape) {
  check_shape("hanayo", shape);
  const int stages = shape.stages_per_rank;
  if (stages % 2 != 0) {
    throw ConfigError(
        fmt::format("hanayo: {} stages per rank; a wave has two, so the number must be "
                    "even (--stages-per-rank)",
                    stages));
  }
  return search_order("hanayo",
                      problem_of(shape, wave_placement(shape.num_ranks, shape.stages_per_rank)));
}

}  // namespace halfback
