#include "halfback/base/error.h"
#include "halfback/schedule/builders.h"
#include "halfback/schedule/rank_list.h"

#include <fmt/format.h>

namespace halfback {

Schedule build_naive(const PipelineShape& shape) {
  if (shape.num_micro_batches != 1) {
    throw ConfigError(
        fmt::format("naive: {} micro-batches; it passes the whole mini-batch as one "
                    "(use --micro-batches 1, or gpipe)",
                    shape.num_micro_batches));
  }
  return build_ranks("naive", shape, [](int, RankList& list) {
    list.forward();
    list.backward();
    list.flush();
  });
}

}  // namespace halfback
