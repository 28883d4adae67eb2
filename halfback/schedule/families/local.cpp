#include "halfback/schedule/builders.h"
#include "halfback/schedule/rank_list.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace halfback {

namespace {

// How far the backward of one stage waits up and down the pipeline.
struct Chain {
  int above = 0;  // stages that run F and I before its own I, or B
  int below = 0;  // stages whose I or B wait for it
};

std::vector<Chain> chains_of(const Losses& losses, const PipelineShape& shape) {
  const int num_stages = shape.num_ranks;
  std::vector<Chain> chains(static_cast<std::size_t>(num_stages));
  const auto waits = [&](int stage) {
    return stage + 1 < num_stages && losses.num_crossing(stage + 1) > 0 &&
           !(shape.two_stage && losses.weight_takes(stage));
  };
  for (int stage = num_stages - 2; stage >= 0; --stage) {
    const auto i = static_cast<std::size_t>(stage);
    chains[i].above = waits(stage) ? chains[i + 1].above + 1 : 0;
  }
  for (int stage = 0; stage + 1 < num_stages; ++stage) {
    const auto i = static_cast<std::size_t>(stage);
    chains[i + 1].below = waits(stage) ? chains[i].below + 1 : 0;
  }
  return chains;
}

// Builds 1f1b over each chain. As in zb-h1, W waits for I that other stages wait for, as long as no
// rank holds more than in 1f1b with B.
Schedule build(const std::string& name, const PipelineShape& shape, Losses losses) {
  const std::vector<Chain> chains = chains_of(losses, shape);
  Schedule schedule = build_ranks(name, shape, [&](int rank, RankList& list) {
    const Chain& chain = chains[static_cast<std::size_t>(rank)];
    const bool trains = losses.has_backward(rank);
    const int warm_up =
        trains ? std::min(chain.above + 1, shape.num_micro_batches) : shape.num_micro_batches;
    const int most_pending = std::max(chain.below, losses.weight_takes(rank) ? 1 : 0);
    for (int i = 0; i < warm_up; ++i) {
      list.forward();
    }
    for (int i = warm_up; i < shape.num_micro_batches; ++i) {
      list.backward();
      if (list.num_pending() > most_pending) {
        list.weight();
      }
      list.forward();
    }
    for (int i = 0; trains && i < warm_up; ++i) {
      list.backward();
      list.weight();
    }
    list.flush();
  });
  schedule.losses = std::move(losses);
  return schedule;
}

// Returns backprop if the only loss is the last stage's and reaches the first stage.
Losses losses_of(std::vector<LossReach> losses,
                 const PipelineShape& shape,
                 WeightRule rule = WeightRule::Sum) {
  if (losses.size() == 1 && losses.front().lowest == 0) {
    return {};
  }
  return {shape.num_ranks, std::move(losses), rule};
}

// Returns a loss on each stage from `lowest_loss` on, whose gradient goes `distance` stages down.
std::vector<LossReach> sliding_losses(const PipelineShape& shape, int lowest_loss, int distance) {
  std::vector<LossReach> losses;
  for (int stage = lowest_loss; stage < shape.num_ranks; ++stage) {
    losses.push_back({stage, std::max(0, stage - distance)});
  }
  return losses;
}

}  // namespace

Schedule build_local_greedy(const PipelineShape& shape) {
  check_shape("local-greedy", shape);
  return build("local-greedy", shape, losses_of(sliding_losses(shape, 0, 0), shape));
}

Schedule build_local_chunked(const PipelineShape& shape) {
  check_shape("local-chunked", shape);
  std::vector<LossReach> losses;
  losses.reserve(static_cast<std::size_t>(shape.chunks));
  const auto begin_of = [&](std::int64_t chunk) {
    return static_cast<int>(chunk * shape.num_ranks / shape.chunks);
  };
  for (int chunk = 0; chunk < shape.chunks; ++chunk) {
    losses.push_back({begin_of(chunk + 1) - 1, begin_of(chunk)});
  }
  return build("local-chunked", shape, losses_of(std::move(losses), shape));
}

Schedule build_local_overlapping(const PipelineShape& shape) {
  check_shape("local-overlapping", shape);
  const int distance = shape.window - 1;
  return build("local-overlapping", shape,
               losses_of(sliding_losses(shape, distance, distance), shape));
}

Schedule build_local_interlocking(const PipelineShape& shape) {
  check_shape("local-interlocking", shape);
  std::vector<LossReach> losses = sliding_losses(shape, 0, shape.distance);
  // No weights would take the gradients of these losses. The last stage's is not one of them: its
  // own weights take it.
  for (int stage = 0; stage < std::min(shape.distance, shape.num_ranks - 1); ++stage) {
    losses[static_cast<std::size_t>(stage)].lowest = stage + 1;
  }
  return build("local-interlocking", shape,
               losses_of(std::move(losses), shape, WeightRule::Furthest));
}

Schedule build_local_last(const PipelineShape& shape) {
  check_shape("local-last", shape);
  return build("local-last", shape,
               losses_of({{shape.num_ranks - 1, shape.num_ranks - shape.trained}}, shape));
}

}  // namespace halfback
