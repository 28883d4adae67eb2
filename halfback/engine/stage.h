// One stage: its layers, its parameters, and what it keeps of every micro-batch in flight.
// It knows no schedule, no transport and no other stage.
#pragma once

#include "halfback/engine/optimizer.h"
#include "halfback/engine/parameter_store.h"
#include "halfback/engine/sharded_buffer.h"
#include "halfback/layers/stage_layers.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace halfback {

// How the weight gradients of several micro-batches are computed when they run together.
enum class WeightGradients {
  Looped,        // one after the other; bit-equal to the plain run
  Concatenated,  // one product over all of them; equal up to rounding
};

// Returns the key of the random masks of a micro-batch in a step.
std::uint64_t micro_batch_key(std::uint64_t seed, std::int64_t step, int micro_batch);

// Everything that it holds is on its device, and what it is given is moved there. Call it only from
// its rank's thread. F, I and W (or F and B) of a micro-batch come once and in this order, else
// ScheduleError.
class Stage {
 public:
  struct Options {
    at::Device device = at::kCPU;
    at::ScalarType dtype = at::kFloat;
    std::optional<at::ScalarType> product_dtype = {};  // of matrix products, if smaller
    WeightGradients weight_gradients = WeightGradients::Looped;
    std::uint64_t seed = 0;   // of random masks
    int gradient_groups = 1;  // that each replica of a stage sums on its own; a power of two
    // This replica holds and updates shard `optimizer_shard` of `num_optimizer_shards`.
    int optimizer_shard = 0;
    int num_optimizer_shards = 1;
    OptimizerOptions optimizer;
  };
  Stage(StageLayers layers, const Options& options);

  bool has_loss() const { return layers_.loss != nullptr; }
  bool concatenates() const { return options_.weight_gradients == WeightGradients::Concatenated; }
  ParameterStore& store() { return store_; }
  Optimizer& optimizer() { return *optimizer_; }
  // The elements of the store that the optimizer updates.
  const ElementRange& own_elements() const { return own_elements_; }

  // Returns the optimizer's state, buffer by buffer.
  std::vector<ShardedBuffer> optimizer_state();
  const StageLayers& layers() const { return layers_; }
  // Returns the bytes of parameters, their gradients and the optimizer's state.
  StateBytes state_bytes() const;

  // Begins training step `number`, from 1. Gradients start from zero, and random masks are its own.
  void begin_step(std::int64_t number);
  // Begins a pass of infer() over any number of micro-batches.
  void begin_inference() { store_.round_values(); }

  // F. Takes the inputs of a micro-batch, returns the activations for the next stage, which share
  // no memory with what this one keeps.
  Tensors forward(int micro_batch, Tensors inputs);
  // F on the stage with the loss: returns the summed loss.
  double forward_loss(int micro_batch, Tensors inputs, const at::Tensor& targets);

  // I. Takes the gradients of the outputs (none on the stage with the loss, where the gradient
  // starts at `loss_scale`), returns those of the inputs.
  Tensors backward_input(int micro_batch, Tensors grad_outputs, double loss_scale);

  // W of one micro-batch, or of several at once as one product.
  void backward_weight(std::span<const int> micro_batches);

  // B: I and W of every layer in turn, so that nothing is kept between them.
  Tensors backward(int micro_batch, Tensors grad_outputs, double loss_scale);

  // Forward without keeping anything.
  Tensors infer(Tensors inputs);
  struct Score {
    double loss = 0.0;             // summed
    std::int64_t num_correct = 0;  // targets with the highest score
  };
  Score infer_loss(Tensors inputs, const at::Tensor& targets);

  // Ends a step of these micro-batches, which then begin with F again. Returns the first unfinished
  // one, after which the stage cannot be used again, or nothing.
  std::optional<int> finish_step(std::span<const int> micro_batches);

  // True when no micro-batch has anything saved.
  bool is_idle() const;

 private:
  // How far a micro-batch has come.
  enum class Phase { Empty, AfterForward, AfterInput, Done };
  // What is kept of one micro-batch: a Saved for each layer and one for the loss, and the side
  // inputs, which some layers need until W.
  struct InFlight {
    Phase phase = Phase::Empty;
    Call call;
    std::vector<Saved> layers;
    Saved loss;
    Tensors side_inputs;
  };
  // Returns what is kept and moves on to the next phase. Throws ScheduleError if the micro-batch is
  // not in phase `from`.
  InFlight& advance(int micro_batch, Phase from, Phase to);
  at::Tensor on_device(const at::Tensor& tensor) const { return tensor.to(options_.device); }
  Tensors on_device(Tensors tensors) const;
  Tensors forward_layers(InFlight& saved, int micro_batch, Tensors inputs);
  Tensors loss_gradient(InFlight& saved, double loss_scale);

  StageLayers layers_;
  Options options_;
  ParameterStore store_;
  ElementRange own_elements_;
  std::unique_ptr<Optimizer> optimizer_;
  std::int64_t step_ = 0;
  std::deque<InFlight> in_flight_;  // by micro-batch; growing moves none of them
};

}  // namespace halfback
