#include "halfback/engine/stage.h"

#include "halfback/base/error.h"
#include "halfback/base/keyed_random.h"
#include "halfback/engine/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>

namespace halfback {

namespace {

constexpr Call kEvaluation{.is_training = false};

std::int64_t bytes_of(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<std::int64_t>(tensor.nbytes()) : 0;
}

// Both this stage and the next, which may be elsewhere, hold side inputs: each has its own copy.
Tensors with_own_side_inputs(Tensors outputs) {
  for (std::size_t i = 1; i < outputs.size(); ++i) {
    outputs[i] = outputs[i].clone();
  }
  return outputs;
}

}  // namespace

std::uint64_t micro_batch_key(std::uint64_t seed, std::int64_t step, int micro_batch) {
  return keyed_hash(Purpose::MicroBatch, {seed, static_cast<std::uint64_t>(step),
                                          static_cast<std::uint64_t>(micro_batch)});
}

Stage::Stage(StageLayers layers, const Options& options)
    : layers_(std::move(layers)),
      options_(options),
      store_(layers_.parameters(),
             {.dtype = options.dtype,
              .product_dtype = options.product_dtype,
              .device = options.device,
              .gradient_groups = options.gradient_groups}),
      own_elements_(equal_shards(store_.values().numel(),
                                 static_cast<std::size_t>(options.num_optimizer_shards))
                        .at(static_cast<std::size_t>(options.optimizer_shard))),
      optimizer_(make_optimizer(options.optimizer, store_, own_elements_)) {
  require_reproducible_operators(options.device);
  std::map<const void*, at::Tensor> moved;  // layers that share a table continue to share it
  for (const auto& layer : layers_.layers) {
    for (at::Tensor* const table : layer->buffers()) {
      at::Tensor& own = moved[table->const_data_ptr()];
      if (!own.defined()) {
        own = on_device(*table);
      }
      *table = own;
    }
  }
}

Tensors Stage::on_device(Tensors tensors) const {
  for (at::Tensor& tensor : tensors) {
    tensor = on_device(tensor);
  }
  return tensors;
}

Stage::InFlight& Stage::advance(int micro_batch, Phase from, Phase to) {
  const auto index = static_cast<std::size_t>(micro_batch);
  if (index >= in_flight_.size()) {
    in_flight_.resize(index + 1);
  }
  InFlight& one = in_flight_[index];
  if (one.phase != from) {
    constexpr std::array kDone = {"nothing", "F", "I", "all"};
    throw ScheduleError(fmt::format(
        "micro-batch {} has run {} on its stage; this action must follow {}", micro_batch,
        kDone[static_cast<std::size_t>(one.phase)], kDone[static_cast<std::size_t>(from)]));
  }
  one.phase = to;
  one.layers.resize(layers_.layers.size());
  return one;
}

void Stage::begin_step(std::int64_t number) {
  step_ = number;
  store_.forget_gradients();
  store_.round_values();
}

Tensors Stage::forward_layers(InFlight& saved, int micro_batch, Tensors inputs) {
  saved.call = {.key = micro_batch_key(options_.seed, step_, micro_batch)};
  inputs = on_device(std::move(inputs));
  saved.side_inputs.assign(inputs.begin() + 1, inputs.end());
  for (std::size_t i = 0; i < layers_.layers.size(); ++i) {
    inputs = layers_.layers[i]->forward(std::move(inputs), saved.layers[i], saved.call);
  }
  return inputs;
}

Tensors Stage::forward(int micro_batch, Tensors inputs) {
  return with_own_side_inputs(forward_layers(
      advance(micro_batch, Phase::Empty, Phase::AfterForward), micro_batch, std::move(inputs)));
}

double Stage::forward_loss(int micro_batch, Tensors inputs, const at::Tensor& targets) {
  InFlight& saved = advance(micro_batch, Phase::Empty, Phase::AfterForward);
  return layers_.loss->forward(forward_layers(saved, micro_batch, std::move(inputs)).front(),
                               on_device(targets), saved.loss, saved.call);
}

Tensors Stage::loss_gradient(InFlight& saved, double loss_scale) {
  Tensors gradients(1 + saved.side_inputs.size());
  gradients.front() = layers_.loss->backward_input(loss_scale, saved.loss, saved.call);
  return gradients;
}

Tensors Stage::backward_input(int micro_batch, Tensors gradients, double loss_scale) {
  InFlight& saved = advance(micro_batch, Phase::AfterForward, Phase::AfterInput);
  if (layers_.loss) {
    gradients = loss_gradient(saved, loss_scale);
  }
  for (std::size_t i = layers_.layers.size(); i-- > 0;) {
    gradients =
        layers_.layers[i]->backward_input(std::move(gradients), saved.layers[i], saved.call);
  }
  return gradients;
}

Tensors Stage::backward(int micro_batch, Tensors gradients, double loss_scale) {
  InFlight& saved = advance(micro_batch, Phase::AfterForward, Phase::Done);
  if (layers_.loss) {
    gradients = loss_gradient(saved, loss_scale);
    Saved* loss = &saved.loss;
    layers_.loss->backward_weight({&loss, 1});
  }
  for (std::size_t i = layers_.layers.size(); i-- > 0;) {
    gradients = layers_.layers[i]->backward(std::move(gradients), saved.layers[i], saved.call);
  }
  saved.side_inputs.clear();
  return gradients;
}

void Stage::backward_weight(std::span<const int> micro_batches) {
  std::vector<InFlight*> batches;
  for (const int micro_batch : micro_batches) {
    batches.push_back(&advance(micro_batch, Phase::AfterInput, Phase::Done));
  }
  std::vector<Saved*> saved(batches.size());
  const auto collect = [&](auto member) {
    std::transform(batches.begin(), batches.end(), saved.begin(), member);
  };
  if (layers_.loss) {
    collect([](InFlight* one) { return &one->loss; });
    layers_.loss->backward_weight(saved);
  }
  for (std::size_t i = layers_.layers.size(); i-- > 0;) {
    collect([i](InFlight* one) { return &one->layers[i]; });
    layers_.layers[i]->backward_weight(saved);
  }
  for (InFlight* const one : batches) {
    one->side_inputs.clear();
  }
}

std::optional<int> Stage::finish_step(std::span<const int> micro_batches) {
  for (const int micro_batch : micro_batches) {
    const auto index = static_cast<std::size_t>(micro_batch);
    if (index >= in_flight_.size() || in_flight_[index].phase != Phase::Done) {
      return micro_batch;
    }
    in_flight_[index].phase = Phase::Empty;
  }
  return std::nullopt;
}

Tensors Stage::infer(Tensors inputs) {
  inputs = on_device(std::move(inputs));
  for (const auto& layer : layers_.layers) {
    Saved dropped;
    inputs = layer->forward(std::move(inputs), dropped, kEvaluation);
  }
  return with_own_side_inputs(std::move(inputs));
}

Stage::Score Stage::infer_loss(Tensors inputs, const at::Tensor& targets) {
  Saved dropped;
  const double loss = layers_.loss->forward(infer(std::move(inputs)).front(), on_device(targets),
                                            dropped, kEvaluation);
  return {.loss = loss, .num_correct = layers_.loss->num_correct(dropped)};
}

std::vector<ShardedBuffer> Stage::optimizer_state() {
  std::vector<ShardedBuffer> state;
  for (const auto& [name, own] : optimizer_->state()) {
    state.emplace_back(name, own, own_elements_, store_.values().numel());
  }
  return state;
}

StateBytes Stage::state_bytes() const {
  StateBytes bytes{.parameters = bytes_of(store_.values()) + bytes_of(store_.statistics()) +
                                 bytes_of(store_.rounded()),
                   .gradients = store_.gradient_bytes()};
  for (const auto& [name, buffer] : optimizer_->state()) {
    bytes.optimizer += bytes_of(buffer);
  }
  return bytes;
}

bool Stage::is_idle() const {
  const auto is_empty = [](const Saved& saved) { return saved.is_empty(); };
  return std::all_of(in_flight_.begin(), in_flight_.end(), [&](const InFlight& one) {
    return one.phase == Phase::Empty && is_empty(one.loss) && one.side_inputs.empty() &&
           std::all_of(one.layers.begin(), one.layers.end(), is_empty);
  });
}

}  // namespace halfback
