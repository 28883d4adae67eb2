#include "halfback/base/error.h"
#include "halfback/schedule/builders.h"
#include "halfback/schedule/rank_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <string>

namespace halfback {

namespace {

// Which W a variant adds right after backward number `step` (0-based) of the steady phase.
using SteadyWeights = std::function<void(int rank, int step, RankList& list)>;

Schedule build(const std::string& name, const PipelineShape& shape, const SteadyWeights& weights) {
  return build_ranks(name, shape, [&](int rank, RankList& list) {
    const int warm_up = std::min(shape.num_ranks - rank, shape.num_micro_batches);
    for (int i = 0; i < warm_up; ++i) {
      list.forward();
    }
    for (int i = warm_up; i < shape.num_micro_batches; ++i) {
      list.backward();
      weights(rank, i - warm_up, list);
      list.forward();
    }
    for (int i = 0; i < warm_up; ++i) {
      list.backward();
      list.weight();
    }
    list.flush();
  });
}

void no_weights(int, int, RankList&) {}

void require_micro_batches(const std::string& name, const PipelineShape& shape, int factor) {
  if (std::int64_t{factor} * shape.num_ranks != shape.num_micro_batches) {
    throw ConfigError(fmt::format(
        "{}: {} micro-batches on {} ranks; it needs {} (use --micro-batches {}, or 1f1b)", name,
        shape.num_micro_batches, shape.num_ranks,
        factor == 1 ? "as many as ranks" : "twice as many",
        std::int64_t{factor} * shape.num_ranks));
  }
}

void require_saver_shape(const std::string& name, const PipelineShape& shape) {
  if (!shape.two_stage) {
    throw ConfigError(
        fmt::format("{}: it moves weight gradients, so it needs the split backward (use "
                    "--two-stage on, or 1f1b-2)",
                    name));
  }
  require_micro_batches(name, shape, 2);
}

}  // namespace

Schedule build_one_f_one_b(const PipelineShape& shape) { return build("1f1b", shape, no_weights); }

Schedule build_one_f_one_b_1(const PipelineShape& shape) {
  require_micro_batches("1f1b-1", shape, 1);
  return build("1f1b-1", shape, no_weights);
}

Schedule build_one_f_one_b_2(const PipelineShape& shape) {
  require_micro_batches("1f1b-2", shape, 2);
  return build("1f1b-2", shape, no_weights);
}

Schedule build_one_f_one_b_2_flush(const PipelineShape& shape) {
  require_saver_shape("1f1b-2-flush", shape);
  return build("1f1b-2-flush", shape, [&](int, int step, RankList& list) {
    if (step + 1 == shape.num_ranks) {
      list.flush();
    }
  });
}

Schedule build_one_f_one_b_2_capped(const PipelineShape& shape) {
  require_saver_shape("1f1b-2-capped", shape);
  return build("1f1b-2-capped", shape, [](int rank, int, RankList& list) {
    if (list.num_pending() > rank) {
      list.weight();
    }
  });
}

}  // namespace halfback
