#include "halfback/engine/stage.h"

#include "halfback/base/error.h"
#include "halfback/base/keyed_random.h"
#include "halfback/engine/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
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
    if (outputs[i].use_count() > 1 || outputs[i].storage().use_count() > 1) {
      outputs[i] = outputs[i].clone();
    }
  }
  return outputs;
}

constexpr int kMiddle = 1, kLast = 2;  // of three stages

// Returns the parameters. Those of layers that no gradient trains are fixed.
std::vector<Parameter*> trained_by(const StageGradients& gradients, StageLayers& layers) {
  if (std::ranges::none_of(gradients.all, &StageGradient::is_taken)) {
    for (const auto& layer : layers.layers) {
      for (Parameter* const parameter : layer->parameters()) {
        parameter->trains = false;
      }
    }
  }
  return layers.parameters();
}

}  // namespace

std::uint64_t micro_batch_key(std::uint64_t seed, std::int64_t step, int micro_batch) {
  return keyed_hash(Purpose::MicroBatch, {seed, static_cast<std::uint64_t>(step),
                                          static_cast<std::uint64_t>(micro_batch)});
}

Stage::Stage(StageLayers layers, const Options& options, std::optional<StageGradients> gradients)
    : layers_(std::move(layers)),
      options_(options),
      gradients_(gradients ? *std::move(gradients)
                           : gradients_of({}, 3, layers_.loss ? kLast : kMiddle)),
      store_(trained_by(gradients_, layers_),
             {.dtype = options.dtype,
              .product_dtype = options.product_dtype,
              .device = options.device,
              .gradient_groups = options.gradient_groups,
              .is_pruned = options.is_pruned}),
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

Stage::InFlight& Stage::in_phase(int micro_batch, Phase phase) {
  const auto index = static_cast<std::size_t>(micro_batch);
  if (index >= in_flight_.size()) {
    in_flight_.resize(index + 1);
  }
  InFlight& one = in_flight_[index];
  if (one.phase != phase) {
    constexpr std::array kDone = {"nothing", "F", "I", "all"};
    throw ScheduleError(fmt::format(
        "micro-batch {} has run {} on its stage; this action must follow {}", micro_batch,
        kDone[static_cast<std::size_t>(one.phase)], kDone[static_cast<std::size_t>(phase)]));
  }
  one.layers.resize(layers_.layers.size());
  return one;
}

Stage::InFlight& Stage::advance(int micro_batch, Phase from, Phase to) {
  InFlight& one = in_phase(micro_batch, from);
  one.phase = to;
  return one;
}

bool Stage::is_passed() const {
  return std::ranges::any_of(gradients_.all, &StageGradient::is_carried);
}

void Stage::begin_step(std::int64_t number) {
  step_ = number;
  store_.forget_gradients();
  store_.round_values();
}

Stage::Outputs Stage::hand_out(Tensors outputs,
                               const at::Tensor& targets,
                               Saved& loss,
                               const Call& call) const {
  Outputs result;
  if (!layers_.loss || !targets.defined()) {
    result.activations = with_own_side_inputs(std::move(outputs));
    return result;
  }
  const at::Tensor last = outputs.front();
  if (!gradients_.is_last) {
    // The loss keeps its input, and the next stage may overwrite its own.
    outputs.front() = last.clone();
    result.activations = with_own_side_inputs(std::move(outputs));
  }
  result.loss = layers_.loss->forward(last, on_device(targets), loss, call);
  return result;
}

Stage::Outputs Stage::forward(int micro_batch,
                              Tensors inputs,
                              const at::Tensor& targets,
                              const Tensors& own_inputs) {
  inputs.insert(inputs.end(), own_inputs.begin(), own_inputs.end());
  InFlight& saved = advance(micro_batch, Phase::Empty,
                            gradients_.all.empty() ? Phase::Done : Phase::AfterForward);
  saved.num_carried = 0;
  saved.call = {.key = micro_batch_key(options_.seed, step_, micro_batch)};
  inputs = on_device(std::move(inputs));
  const bool is_kept = is_passed();
  if (is_kept) {
    saved.side_inputs.assign(inputs.begin() + 1, inputs.end());
  }
  // What does not train is the same in training as it is in evaluation.
  Call call = saved.call;
  call.is_training = is_kept;
  call.num_stage_inputs = own_inputs.size();
  for (std::size_t i = 0; i < layers_.layers.size(); ++i) {
    Saved dropped;
    inputs =
        layers_.layers[i]->forward(std::move(inputs), is_kept ? saved.layers[i] : dropped, call);
    call.num_stage_inputs = 0;
  }
  return hand_out(std::move(inputs), targets, saved.loss, saved.call);
}

Tensors Stage::carry_through(InFlight& saved, std::size_t gradient, Tensors gradients, Half half) {
  const bool is_last = gradient + 1 == gradients_.all.size();
  if (!is_last) {
    saved.copies.resize(gradients_.all.size() - 1);
    saved.copies[gradient] = copies_for_another_gradient(saved.layers);
  }
  std::vector<Saved>& layers = saved.layers_of(gradient);
  Call call = saved.call;
  for (std::size_t i = layers_.layers.size(); i-- > 0;) {
    Layer& layer = *layers_.layers[i];
    call.needs_input = i > 0 || gradients_.all[gradient].continues;
    gradients = half == Half::Both ? layer.backward(std::move(gradients), layers[i], call)
                                   : layer.backward_input(std::move(gradients), layers[i], call);
  }
  if (!gradients_.all[gradient].is_taken) {
    layers.clear();
  }
  return gradients;
}

Tensors Stage::carry(
    InFlight& saved, std::size_t gradient, Tensors arriving, double scale, Half half) {
  const StageGradient& kind = gradients_.all[gradient];
  if (kind.is_own) {
    arriving.resize(1 + saved.side_inputs.size());
    arriving.front() = layers_.loss->backward_input(scale, saved.loss, saved.call);
    if (half == Half::Both) {
      Saved* loss = &saved.loss;
      layers_.loss->backward_weight({&loss, 1});
    }
  }
  if (!kind.is_carried) {
    return {};
  }
  Tensors passed = carry_through(saved, gradient, std::move(arriving), half);
  return kind.continues ? std::move(passed) : Tensors{};
}

Tensors Stage::backward_input(const GradientName& gradient, Tensors arriving, double loss_scale) {
  InFlight& saved = in_phase(gradient.micro_batch, Phase::AfterForward);
  const std::size_t number = saved.num_carried;
  if (gradients_.all[number].loss != gradient.loss) {
    throw ScheduleError(
        fmt::format("{} gradients of micro-batch {} have passed the stage; that of another loss "
                    "comes next",
                    number, gradient.micro_batch));
  }
  if (++saved.num_carried == gradients_.all.size()) {
    saved.phase = Phase::AfterInput;
  }
  return carry(saved, number, std::move(arriving), loss_scale, Half::Input);
}

Tensors Stage::backward(int micro_batch, Tensors arriving, double loss_scale) {
  InFlight& saved = advance(micro_batch, Phase::AfterForward, Phase::Done);
  HALFBACK_CHECK(gradients_.all.size() == 1, "B is for one gradient");
  Tensors passed = carry(saved, 0, std::move(arriving), loss_scale, Half::Both);
  saved.side_inputs.clear();
  return passed;
}

void Stage::backward_weight(std::span<const int> micro_batches) {
  std::vector<InFlight*> batches;
  for (const int micro_batch : micro_batches) {
    batches.push_back(&advance(micro_batch, Phase::AfterInput, Phase::Done));
  }
  std::vector<Saved*> saved(batches.size());
  if (layers_.loss) {
    std::transform(batches.begin(), batches.end(), saved.begin(),
                   [](InFlight* one) { return &one->loss; });
    layers_.loss->backward_weight(saved);
  }
  for (std::size_t i = layers_.layers.size(); i-- > 0;) {
    // A call for each gradient, since several at once are one product.
    for (std::size_t gradient = 0; gradient < gradients_.all.size(); ++gradient) {
      if (gradients_.all[gradient].is_taken) {
        std::transform(batches.begin(), batches.end(), saved.begin(),
                       [&](InFlight* one) { return &one->layers_of(gradient)[i]; });
        layers_.layers[i]->backward_weight(saved);
      }
    }
  }
  for (InFlight* const one : batches) {
    one->side_inputs.clear();
    one->copies.clear();
  }
}

void Stage::finish_gradients() {
  store_.prune_gradients();
  const auto num_taken = std::ranges::count_if(gradients_.all, &StageGradient::is_taken);
  if (gradients_.rule != WeightRule::Mean || num_taken < 2) {
    return;
  }
  for (const auto& layer : layers_.layers) {
    for (Parameter* const parameter : layer->parameters()) {
      if (parameter->trains) {
        parameter->gradient.div_(static_cast<double>(num_taken));
      }
    }
  }
}

std::optional<int> Stage::first_unfinished(std::span<const int> micro_batches) const {
  const auto found = std::ranges::find_if(micro_batches, [&](int micro_batch) {
    const auto index = static_cast<std::size_t>(micro_batch);
    return index >= in_flight_.size() || in_flight_[index].phase != Phase::Done;
  });
  return found == micro_batches.end() ? std::nullopt : std::optional(*found);
}

void Stage::finish_step(std::span<const int> micro_batches) {
  for (const int micro_batch : micro_batches) {
    in_flight_[static_cast<std::size_t>(micro_batch)].phase = Phase::Empty;
  }
}

Stage::Outputs Stage::infer(Tensors inputs, const at::Tensor& targets, const Tensors& own_inputs) {
  inputs.insert(inputs.end(), own_inputs.begin(), own_inputs.end());
  inputs = on_device(std::move(inputs));
  for (const auto& layer : layers_.layers) {
    Saved dropped;
    inputs = layer->forward(std::move(inputs), dropped, kEvaluation);
  }
  Saved dropped;
  Outputs outputs = hand_out(std::move(inputs), targets, dropped, kEvaluation);
  if (layers_.loss && targets.defined()) {
    outputs.num_correct = layers_.loss->num_correct(dropped);
  }
  return outputs;
}

std::vector<ShardedBuffer> Stage::update_state() {
  std::vector<ShardedBuffer> state;
  for (const auto& [name, own] : optimizer_->state()) {
    state.emplace_back(name, own, own_elements_, store_.values().numel());
  }
  if (store_.mask().defined()) {
    state.emplace_back("mask", store_.mask());
  }
  return state;
}

StateBytes Stage::state_bytes() const {
  StateBytes bytes{.parameters = bytes_of(store_.values()) + bytes_of(store_.statistics()) +
                                 bytes_of(store_.rounded()) + bytes_of(store_.mask()),
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
           one.copies.empty() && std::all_of(one.layers.begin(), one.layers.end(), is_empty);
  });
}

}  // namespace halfback
