#include "halfback/schedule/rank_list.h"

#include "halfback/base/error.h"
#include "halfback/schedule/passes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <utility>

namespace halfback {

namespace {

// The chunks of a rank, as documented at build_ranks().
std::vector<Chunk> chunks_of(const Placement& placement, int rank) {
  std::vector<Chunk> chunks;
  for (int replica = 0; replica < placement.num_replicas(); ++replica) {
    for (int stage = 0; stage < placement.num_stages(); ++stage) {
      if (placement.rank_of(stage, replica) == rank) {
        chunks.push_back({stage, replica, placement.num_replicas()});
      }
    }
  }
  return chunks;
}

}  // namespace

void check_shape(const std::string& name, const PipelineShape& shape) {
  const int ranks = shape.num_ranks;
  const int micro_batches = shape.num_micro_batches;
  if (ranks < 1 || micro_batches < 1) {
    throw ConfigError(fmt::format("{}: {} ranks and {} micro-batches; both must be at least 1",
                                  name, ranks, micro_batches));
  }
  if (ranks > kMaxIndex || micro_batches > kMaxIndex ||
      std::int64_t{3} * ranks * std::max(1, shape.stages_per_rank) * micro_batches > kMaxActions) {
    throw ConfigError(
        fmt::format("{}: {} ranks with {} micro-batches are too many; at most {} of each and {} "
                    "actions in all",
                    name, ranks, micro_batches, kMaxIndex, kMaxActions));
  }
}

void require_two_stage(const std::string& name, const PipelineShape& shape) {
  if (!shape.two_stage) {
    throw ConfigError(fmt::format(
        "{}: it moves weight gradients, so it needs the split backward (--two-stage on)", name));
  }
}

RankList::RankList(std::vector<Chunk> chunks, bool two_stage)
    : chunks_(std::move(chunks)), next_(chunks_.size(), Next{0, 0}), two_stage_(two_stage) {}

void RankList::add(ActionKind kind, int chunk, int& micro_batch) {
  const Chunk& entry = chunks_[static_cast<std::size_t>(chunk)];
  actions_.push_back({kind, entry.stage, entry.first_micro_batch + entry.stride * micro_batch++});
}

void RankList::forward(int chunk) {
  add(ActionKind::Forward, chunk, next_[static_cast<std::size_t>(chunk)].forward);
}

void RankList::backward(int chunk) {
  if (!two_stage_) {
    whole_backward(chunk);
    return;
  }
  add(ActionKind::BackwardInput, chunk, next_[static_cast<std::size_t>(chunk)].backward);
  Action weight = actions_.back();
  weight.kind = ActionKind::BackwardWeight;
  pending_.push_back(weight);
}

void RankList::whole_backward(int chunk) {
  add(ActionKind::Backward, chunk, next_[static_cast<std::size_t>(chunk)].backward);
}

void RankList::weight() {
  if (!pending_.empty()) {
    actions_.push_back(pending_.front());
    pending_.pop_front();
  }
}

void RankList::flush() {
  while (!pending_.empty()) {
    weight();
  }
}

Schedule build_ranks(const std::string& name,
                     const PipelineShape& shape,
                     const Placement& placement,
                     const std::function<void(int, RankList&)>& write) {
  check_shape(name, shape);
  Schedule schedule{.name = name,
                    .num_micro_batches = shape.num_micro_batches,
                    .placement = placement,
                    .ranks = {}};
  // With one stage per rank, which may be many ranks, this stays linear.
  const bool one_stage = placement == looped_placement(shape.num_ranks);
  for (int rank = 0; rank < shape.num_ranks; ++rank) {
    RankList list(one_stage ? std::vector<Chunk>{{rank}} : chunks_of(placement, rank),
                  shape.two_stage);
    write(rank, list);
    schedule.ranks.push_back(list.take());
  }
  return schedule;
}

Schedule build_ranks(const std::string& name,
                     const PipelineShape& shape,
                     const std::function<void(int, RankList&)>& write) {
  check_shape(name, shape);
  return build_ranks(name, shape, looped_placement(shape.num_ranks), write);
}

Placement with_mirror(const Placement& placement, const PipelineShape& shape) {
  std::vector<int> replicas(static_cast<std::size_t>(shape.num_micro_batches));
  for (std::size_t micro_batch = 0; micro_batch < replicas.size(); ++micro_batch) {
    replicas[micro_batch] = static_cast<int>(micro_batch % 2);
  }
  return mirrored(placement, shape.num_ranks, std::move(replicas));
}

Schedule finish_replicas(const Schedule& schedule) {
  return add_gradient_reductions(number_by_replica(schedule));
}

}  // namespace halfback
