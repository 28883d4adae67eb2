#include "halfback/schedule/builders.h"
#include "halfback/schedule/dataflow.h"
#include "halfback/schedule/rank_list.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace halfback {

namespace {

// The losses by which lists are written: also those of backprop, as a table.
Losses written_by(const Losses& losses, const PipelineShape& shape) {
  return losses.is_backprop() ? Losses{shape.num_ranks, {{shape.num_ranks - 1, 0}}} : losses;
}

// Returns how many stages with one gradient, one below the other, the furthest gradient passes.
int num_waiting_below(const Losses& losses, int stage) {
  const int most = losses.num_below(stage, losses.furthest(stage));
  int count = 0;
  while (count < most && !losses.names_losses(stage - count - 1)) {
    ++count;
  }
  return count;
}

// Adds an action with another micro-batch, if there is one of this number.
void add(Action action, int micro_batch, const PipelineShape& shape, RankList& list) {
  if (micro_batch >= 0 && micro_batch < shape.num_micro_batches) {
    action.micro_batch = micro_batch;
    list.add(action);
  }
}

// Writes the list of a stage. After each F come the I of the gradients that have arrived meanwhile,
// so that none waits for one from further above: a gradient arrives one micro-batch after the stage
// above has carried it, so F is as many micro-batches ahead as the loss is stages above. As in
// zb-h1, W waits for I that stages below wait for, as long as no rank holds more than in 1f1b with
// B.
void write(const Losses& losses, const PipelineShape& shape, int stage, RankList& list) {
  const int count = shape.num_micro_batches;
  const Action forward{ActionKind::Forward, stage, 0};
  const bool is_split = shape.two_stage || losses.names_losses(stage);
  const std::vector<Action> inputs = inputs_for_all(
      losses, forward.as(is_split ? ActionKind::BackwardInput : ActionKind::Backward));
  const int furthest = inputs.empty() ? 0 : losses.furthest(stage);
  const int most_pending = inputs.empty() ? 0 : num_waiting_below(losses, stage);
  const int num_weights = is_split && !inputs.empty() ? count : 0;
  int next_weight = 0;
  for (int i = 0; i < count + furthest; ++i) {
    add(forward, i, shape, list);
    for (const Action& input : inputs) {
      add(input, i - loss_offset(losses, input), shape, list);
    }
    const bool is_due = i + 1 >= count || i - furthest - next_weight >= most_pending;
    if (is_due && i >= furthest && next_weight < num_weights) {
      add(forward.as(ActionKind::BackwardWeight), next_weight++, shape, list);
    }
  }
  while (next_weight < num_weights) {
    add(forward.as(ActionKind::BackwardWeight), next_weight++, shape, list);
  }
}

Schedule build(const std::string& name, const PipelineShape& shape, Losses losses) {
  const Losses table = written_by(losses, shape);
  Schedule schedule =
      build_ranks(name, shape, [&](int rank, RankList& list) { write(table, shape, rank, list); });
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
