#include "halfback/schedule/rank_list.h"

#include "halfback/base/error.h"

#include <fmt/format.h>

#include <cstdint>

namespace halfback {

namespace {

constexpr std::int64_t kMaxActions = std::int64_t{1} << 28;

void check_shape(const std::string& name, const PipelineShape& shape) {
  const int ranks = shape.num_ranks;
  const int micro_batches = shape.num_micro_batches;
  if (ranks < 1 || micro_batches < 1) {
    throw ConfigError(fmt::format("{}: {} ranks and {} micro-batches; both must be at least 1",
                                  name, ranks, micro_batches));
  }
  if (ranks > kMaxIndex || micro_batches > kMaxIndex ||
      std::int64_t{3} * ranks * micro_batches > kMaxActions) {
    throw ConfigError(
        fmt::format("{}: {} ranks with {} micro-batches are too many; at most {} of each and {} "
                    "actions in all",
                    name, ranks, micro_batches, kMaxIndex, kMaxActions));
  }
}

}  // namespace

RankList::RankList(int stage, bool two_stage) : stage_(stage), two_stage_(two_stage) {}

void RankList::forward() { actions_.push_back({ActionKind::Forward, stage_, next_forward_++}); }

void RankList::backward() {
  const ActionKind kind = two_stage_ ? ActionKind::BackwardInput : ActionKind::Backward;
  actions_.push_back({kind, stage_, next_backward_++});
}

void RankList::weight() {
  if (num_pending() > 0) {
    actions_.push_back({ActionKind::BackwardWeight, stage_, next_weight_++});
  }
}

void RankList::flush() {
  while (num_pending() > 0) {
    weight();
  }
}

Schedule build_ranks(const std::string& name,
                     const PipelineShape& shape,
                     const std::function<void(int, RankList&)>& write) {
  check_shape(name, shape);
  Schedule schedule{.name = name,
                    .num_micro_batches = shape.num_micro_batches,
                    .placement = looped_placement(shape.num_ranks),
                    .ranks = {}};
  for (int rank = 0; rank < shape.num_ranks; ++rank) {
    RankList list(rank, shape.two_stage);
    write(rank, list);
    schedule.ranks.push_back(list.take());
  }
  return schedule;
}

}  // namespace halfback
