#include "tests/support/local_reference.h"

#include "tests/support/losses_through.h"

#include <c10/core/InferenceMode.h>

#include <utility>

namespace halfback::testing {

namespace {

Tensors cloned(const Tensors& tensors) {
  Tensors copies;
  for (const at::Tensor& tensor : tensors) {
    copies.push_back(tensor.clone());
  }
  return copies;
}

std::vector<LossReach> reaches_of(const Losses& losses, int num_stages) {
  return losses.is_backprop() ? std::vector<LossReach>{{num_stages - 1, 0}} : losses.reaches();
}

// Of layers that no loss trains; their head may train.
void fix_values(const StageLayers& stage) {
  for (const auto& layer : stage.layers) {
    for (Parameter* const parameter : layer->parameters()) {
      parameter->trains = false;
    }
  }
}

}  // namespace

LocalReference::LocalReference(std::vector<StageLayers> stages,
                               const Losses& losses,
                               const Stage::Options& options,
                               const UpdateOptions& update,
                               std::int64_t head_refresh)
    : stages_(std::move(stages)),
      losses_(losses),
      options_(options),
      update_(update),
      head_refresh_(head_refresh),
      layout_(lay_out(stages_)) {
  for (std::size_t i = 0; i < stages_.size(); ++i) {
    if (losses_.passes(static_cast<int>(i)).taken == 0) {
      fix_values(stages_[i]);
    }
    const StageLayers& stage = stages_[i];
    ParameterStore& store = *stores_.emplace_back(std::make_unique<ParameterStore>(
        stage.parameters(), ParameterStore::Options{.dtype = options.dtype,
                                                    .gradient_groups = options.gradient_groups}));
    optimizers_.push_back(make_optimizer(options.optimizer, store, {0, store.values().numel()}));
  }
}

void LocalReference::initialize(std::uint64_t seed) {
  const c10::InferenceMode no_graph;
  for (std::size_t i = 0; i < stages_.size(); ++i) {
    stores_[i]->initialize(seed, layout_.numbers[i]);
  }
}

double LocalReference::train_by(const LossReach& loss,
                                const std::vector<Tensors>& inputs,
                                const at::Tensor& targets,
                                const Call& call,
                                double scale) {
  const int num_stages = static_cast<int>(stages_.size());
  LossLayer& head = *stages_[static_cast<std::size_t>(loss.stage)].loss;
  Saved saved_loss;
  const Tensors& top = inputs[static_cast<std::size_t>(loss.stage) + 1];
  const double value = head.forward(top.front().clone(), targets, saved_loss, call);
  Tensors gradients(top.size());
  gradients.front() = head.backward_input(scale, saved_loss, call);
  Saved* loss_saved = &saved_loss;
  head.backward_weight({&loss_saved, 1});
  for (int stage = loss.stage; stage >= loss.lowest; --stage) {
    auto& layers = stages_[static_cast<std::size_t>(stage)].layers;
    const int furthest = losses_through(losses_, num_stages, stage).back();
    const bool is_furthest = furthest == loss.stage;
    std::vector<Saved> saved(layers.size());
    Tensors passed = cloned(inputs[static_cast<std::size_t>(stage)]);
    for (std::size_t i = 0; i < layers.size(); ++i) {
      saved[i].is_copy = !is_furthest;  // running statistics move once
      passed = layers[i]->forward(std::move(passed), saved[i], call);
    }
    const bool is_taken = losses_.weight_rule() != WeightRule::Furthest || is_furthest;
    for (std::size_t i = layers.size(); i-- > 0;) {
      gradients = layers[i]->backward_input(std::move(gradients), saved[i], call);
      if (is_taken) {
        Saved* one = &saved[i];
        layers[i]->backward_weight({&one, 1});
      }
    }
  }
  return value;
}

void LocalReference::refresh_heads() {
  for (const StageLayers& stage : stages_) {
    Parameter* const copy = stage.loss ? stage.loss->output_matrix() : nullptr;
    if (copy != nullptr && !copy->trains) {
      copy->value.copy_(stages_.back().loss->output_matrix()->value);
    }
  }
}

void LocalReference::end_groups(std::size_t num_done, std::size_t num_micro_batches) {
  const auto groups = static_cast<std::size_t>(options_.gradient_groups);
  if (groups == 1 || num_done % (num_micro_batches / groups) != 0) {
    return;
  }
  for (int stage = 0; stage < static_cast<int>(stages_.size()); ++stage) {
    if (losses_.has_backward(stage)) {
      store(stage).end_gradient_group(num_done == num_micro_batches);
    }
  }
}

void LocalReference::complete(int stage) {
  store(stage).complete_gradients();
  const int taken = losses_.passes(stage).taken;
  if (losses_.weight_rule() != WeightRule::Mean || taken < 2) {
    return;
  }
  for (const auto& layer : stages_[static_cast<std::size_t>(stage)].layers) {
    for (Parameter* const parameter : layer->parameters()) {
      if (parameter->trains) {
        parameter->gradient.div_(static_cast<double>(taken));
      }
    }
  }
}

at::Tensor& LocalReference::gradient_of(const TiedPair::Place& place) {
  return store(place.stage).parameters()[place.parameter]->gradient;
}

std::vector<double> LocalReference::train_step(std::span<const MicroBatch> micro_batches,
                                               std::int64_t number,
                                               double learning_rate) {
  const c10::InferenceMode no_graph;
  const int num_stages = static_cast<int>(stages_.size());
  const std::vector<LossReach> reaches = reaches_of(losses_, num_stages);
  const auto targets = static_cast<double>(num_targets(micro_batches));
  std::vector<double> values(reaches.size());
  if ((number - 1) % head_refresh_ == 0) {
    refresh_heads();
  }
  for (const auto& store : stores_) {
    store->forget_gradients();
  }
  for (std::size_t m = 0; m < micro_batches.size(); ++m) {
    const Call call{.key = micro_batch_key(options_.seed, number, static_cast<int>(m))};
    std::vector<Tensors> inputs = {micro_batches[m].inputs};
    for (int stage = 0; stage < num_stages; ++stage) {
      Call own = call;
      own.is_training = losses_.passes(stage).carried > 0;
      Tensors passed = cloned(inputs.back());
      for (const auto& layer : stages_[static_cast<std::size_t>(stage)].layers) {
        Saved dropped;
        passed = layer->forward(std::move(passed), dropped, own);
      }
      inputs.push_back(std::move(passed));
    }
    for (std::size_t i = 0; i < reaches.size(); ++i) {
      values[i] += train_by(reaches[i], inputs, micro_batches[m].targets, call, 1.0 / targets);
    }
    end_groups(m + 1, micro_batches.size());
  }
  for (double& value : values) {
    value /= targets;
  }
  for (int stage = 0; stage < num_stages; ++stage) {
    if (losses_.has_backward(stage)) {
      complete(stage);
    }
  }
  for (const TiedPair& pair : layout_.tied) {
    at::Tensor& original = gradient_of(pair.original);
    original.add_(gradient_of(pair.copy));
    gradient_of(pair.copy).copy_(original);
  }
  for (int stage = 0; stage < num_stages; ++stage) {
    if (!losses_.has_backward(stage)) {
      continue;
    }
    ParameterStore& own = store(stage);
    const double norm = norm_of(own.squared_gradient_norms());
    optimizers_[static_cast<std::size_t>(stage)]->step(
        own, {.step = number,
              .learning_rate = learning_rate,
              .gradient_divisor = clip_divisor(norm, update_.clip_norm)});
  }
  return values;
}

}  // namespace halfback::testing
