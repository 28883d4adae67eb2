#include "halfback/schedule/builders.h"
#include "halfback/schedule/rank_list.h"

namespace halfback {

Schedule build_gpipe(const PipelineShape& shape) {
  return build_ranks("gpipe", shape, [&](int, RankList& list) {
    for (int i = 0; i < shape.num_micro_batches; ++i) {
      list.forward();
    }
    for (int i = 0; i < shape.num_micro_batches; ++i) {
      list.backward();
    }
    list.flush();
  });
}

}  // namespace halfback
