#include "halfback/engine/rank_stages.h"

#include "halfback/base/error.h"

#include <fmt/format.h>

#include <utility>

namespace halfback {

RankStages::RankStages(int rank,
                       RankStageMap& stages,
                       Replicas& replicas,
                       const StageUpdate& update)
    : rank_(rank), stages_(stages), replicas_(replicas), update_(update) {}

void RankStages::begin(const StepContext& context) {
  context_ = &context;
  updated_.clear();
  const std::size_t count = context.micro_batches.size();
  for (const auto& [number, stage] : stages_) {
    if (stage->has_loss()) {
      losses_[number].assign(context.is_training ? count : 2 * count, 0.0);
    }
    if (context.is_training) {
      // They stay 0 where no loss trains the stage.
      squared_norms_[number].assign(stage->store().parameters().size(), 0.0);
      stage->begin_step(context.update.number);
    } else {
      stage->begin_inference();
    }
  }
}

Tensors RankStages::compute(const Action& action, Tensors taken) {
  if (action.kind == ActionKind::Forward) {
    return forward(action, std::move(taken));
  }
  Stage& stage = *stages_.at(action.stage);
  if (action.kind == ActionKind::BackwardInput) {
    return stage.backward_input({.micro_batch = action.micro_batch, .loss = action.loss},
                                std::move(taken), context_->loss_scale);
  }
  taken = stage.backward(action.micro_batch, std::move(taken), context_->loss_scale);
  end_weight(action);
  return taken;
}

Tensors RankStages::forward(const Action& action, Tensors inputs) {
  const auto index = static_cast<std::size_t>(action.micro_batch);
  const MicroBatch& batch = context_->micro_batches[index];
  Stage& stage = *stages_.at(action.stage);
  if (action.stage == 0) {
    inputs = batch.inputs;
  }
  const auto number = static_cast<std::size_t>(action.stage);
  const Tensors own = number < batch.stage_inputs.size() ? batch.stage_inputs[number] : Tensors();
  Stage::Outputs outputs =
      context_->is_training
          ? stage.forward(action.micro_batch, std::move(inputs), batch.targets, own)
          : stage.infer(std::move(inputs), batch.targets, own);
  if (stage.has_loss()) {
    std::vector<double>& losses = losses_.at(action.stage);
    losses[index] = outputs.loss;
    if (!context_->is_training) {
      losses[losses.size() / 2 + index] = static_cast<double>(outputs.num_correct);
    }
  }
  return std::move(outputs.activations);
}

GroupEnd RankStages::group_end(const Action& action) const {
  return context_->group_ends.empty()
             ? GroupEnd::No
             : context_->group_ends[static_cast<std::size_t>(action.micro_batch)];
}

void RankStages::end_weight(const Action& action) {
  if (const GroupEnd end = group_end(action); end != GroupEnd::No) {
    stages_.at(action.stage)->store().end_gradient_group(end == GroupEnd::LastOfStep);
  }
}

std::size_t RankStages::num_joined(std::span<const Action> weights) const {
  std::size_t count = 1;
  if (stages_.at(weights.front().stage)->concatenates()) {
    while (count < weights.size() && group_end(weights[count - 1]) == GroupEnd::No) {
      ++count;
    }
  }
  return count;
}

void RankStages::compute_weights(std::span<const Action> weights) {
  std::vector<int> micro_batches;
  for (const Action& action : weights) {
    micro_batches.push_back(action.micro_batch);
  }
  stages_.at(weights.front().stage)->backward_weight(micro_batches);
  end_weight(weights.back());
}

// Runs after the sums over other ranks, if there are any.
void RankStages::finish_gradient(int stage) {
  Stage& held = *stages_.at(stage);
  held.finish_gradients();
  update_.unscale(held);
  squared_norms_[stage] = held.store().squared_gradient_norms();
}

void RankStages::require_updatable(int stage) {
  if (!updated_.insert(stage).second) {
    throw ScheduleError(
        fmt::format("stage {} is already updated; a step updates a stage once", stage));
  }
  if (const auto micro_batch = stages_.at(stage)->first_unfinished(own_micro_batches(stage))) {
    throw ScheduleError(
        fmt::format("stage {} has no weight gradient of micro-batch {} yet; an update needs all",
                    stage, *micro_batch));
  }
  if (!context_->schedule->losses.has_backward(stage)) {
    throw ScheduleError(fmt::format("no loss trains stage {}; it has nothing to update", stage));
  }
}

std::optional<Span> RankStages::finish_sum(const Action& update) {
  require_updatable(update.stage);
  return replicas_.finish_gradient(update.stage);
}

void RankStages::update(const Action& action) {
  if (context_->updates_in_lists) {
    finish_gradient(action.stage);
  }
  if (context_->updates) {
    update_.update(*stages_.at(action.stage), context_->update,
                   update_.clip_scope() == ClipScope::Stage
                       ? norm_of(squared_norms_.at(action.stage))
                       : model_norm_);
    replicas_.begin_share(action.stage);
  }
}

std::vector<int> RankStages::own_micro_batches(int stage) const {
  const Placement& placement = context_->schedule->placement;
  std::vector<int> own;
  for (int i = 0; i < static_cast<int>(context_->micro_batches.size()); ++i) {
    if (placement.rank_of(stage, placement.replica_of(i)) == rank_) {
      own.push_back(i);
    }
  }
  return own;
}

void RankStages::end_list() {
  if (!context_->is_training) {
    return;
  }
  for (const auto& [number, stage] : stages_) {
    const std::vector<int> own = own_micro_batches(number);
    if (const auto micro_batch = stage->first_unfinished(own)) {
      throw ScheduleError(fmt::format(
          "the list ends and stage {} is not through with micro-batch {}; it must run F and "
          "either B or I and W",
          number, *micro_batch));
    }
    stage->finish_step(own);
    if (context_->updates_in_lists && context_->schedule->losses.has_backward(number) &&
        updated_.count(number) == 0) {
      throw ScheduleError(fmt::format(
          "the list ends and stage {} is not updated; all stages that train have U, or none has",
          number));
    }
  }
}

std::vector<Span> RankStages::finish_gradients() {
  if (context_->updates_in_lists) {
    return {};
  }
  std::vector<Span> spans = replicas_.finish_gradients();
  for (const auto& [number, stage] : stages_) {
    finish_gradient(number);
  }
  return spans;
}

}  // namespace halfback
