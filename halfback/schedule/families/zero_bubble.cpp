#include "halfback/schedule/builders.h"
#include "halfback/schedule/rank_list.h"
#include "halfback/schedule/search/order_search.h"

#include <algorithm>
#include <string>

namespace halfback {

namespace {

// The hand-written orders, in which every rank holds `memory` micro-batches. With N it runs as many
// forwards before its first I as in 1f1b; with 2N - 1 it runs enough not to idle until that I. W
// waits while later I come, as long as memory allows.
Schedule build(const std::string& name, const PipelineShape& shape, int memory) {
  require_two_stage(name, shape);
  return build_ranks(name, shape, [&](int rank, RankList& list) {
    const int forwards = std::max(shape.num_ranks - rank, memory - 2 * rank);
    const int warm_up = std::min(forwards, shape.num_micro_batches);
    for (int i = 0; i < warm_up; ++i) {
      list.forward();
    }
    for (int i = warm_up; i < shape.num_micro_batches; ++i) {
      list.backward();
      if (list.num_pending() > memory - forwards) {
        list.weight();
      }
      list.forward();
    }
    for (int i = 0; i < warm_up; ++i) {
      list.backward();
      list.weight();
    }
    list.flush();
  });
}

}  // namespace

Schedule build_zb_h1(const PipelineShape& shape) { return build("zb-h1", shape, shape.num_ranks); }

Schedule build_zb_h2(const PipelineShape& shape) {
  return build("zb-h2", shape, 2 * shape.num_ranks - 1);
}

Schedule build_zb_auto(const PipelineShape& shape) {
  check_shape("zb-auto", shape);
  require_two_stage("zb-auto", shape);
  SearchProblem problem{.placement = looped_placement(shape.num_ranks, shape.stages_per_rank),
                        .num_micro_batches = shape.num_micro_batches,
                        .times = shape.times,
                        .memory_limit = shape.memory_limit,
                        .released_at_input = shape.released_at_input,
                        .goal = SearchGoal::StageStep};
  if (shape.stages_per_rank == 1 && shape.memory_limit >= shape.num_ranks) {
    const double memory = std::min<double>(shape.memory_limit, shape.num_micro_batches);
    problem.known = {build("zb-auto", shape, static_cast<int>(memory))};
  }
  return search_order("zb-auto", problem);
}

}  // namespace halfback
