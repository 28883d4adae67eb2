// One stage: its layers, its parameters, and what it keeps of every micro-batch in flight.
// It knows its own losses, but no schedule, no transport and no other stage.
#pragma once

#include "halfback/engine/optimizer.h"
#include "halfback/engine/parameter_store.h"
#include "halfback/engine/sharded_buffer.h"
#include "halfback/layers/stage_layers.h"
#include "halfback/schedule/losses.h"

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
// its rank's thread. F, I for each gradient in their order and W (or F and B) of a micro-batch come
// once and in this order, else ScheduleError.
class Stage {
 public:
  struct Options {
    at::Device device = at::kCPU;
    at::ScalarType dtype = at::kFloat;
    std::optional<at::ScalarType> product_dtype = {};  // of matrix products, if smaller
    WeightGradients weight_gradients = WeightGradients::Looped;
    std::uint64_t seed = 0;   // of random masks
    int gradient_groups = 1;  // that each replica of a stage sums on its own; a power of two
    bool is_pruned = false;   // holds some values at 0: ParameterStore::mask()
    // This replica holds and updates shard `optimizer_shard` of `num_optimizer_shards`.
    int optimizer_shard = 0;
    int num_optimizer_shards = 1;
    OptimizerOptions optimizer;
  };
  // The gradients are those of backprop by default: the own one on the stage with the loss, one
  // from above on every other. Layers that no gradient trains keep their values, and have neither
  // gradients nor state of an optimizer.
  Stage(StageLayers layers,
        const Options& options,
        std::optional<StageGradients> gradients = std::nullopt);

  bool has_loss() const { return layers_.loss != nullptr; }
  bool concatenates() const { return options_.weight_gradients == WeightGradients::Concatenated; }
  ParameterStore& store() { return store_; }
  Optimizer& optimizer() { return *optimizer_; }
  // The elements of the store that the optimizer updates.
  const ElementRange& own_elements() const { return own_elements_; }

  // Returns what updates need besides values and gradients, buffer by buffer: the optimizer's state
  // and the mask, if it is pruned.
  std::vector<ShardedBuffer> update_state();
  const StageLayers& layers() const { return layers_; }
  // Returns the bytes of parameters with their mask, gradients and the optimizer's state.
  StateBytes state_bytes() const;

  // Begins training step `number`, from 1. Gradients start from zero, and random masks are its own.
  void begin_step(std::int64_t number);
  // Begins a pass of infer() over any number of micro-batches.
  void begin_inference() { store_.round_values(); }

  struct Outputs {
    Tensors activations;  // for the next stage; none on the last one, if it has targets
    // On a stage with a loss, and with targets:
    double loss = 0.0;             // summed
    std::int64_t num_correct = 0;  // targets with the highest score, of infer()
  };
  // F. Takes the inputs of a micro-batch, its targets if the stage has a loss, and what the first
  // layer takes besides (MicroBatch::stage_inputs). The activations share no memory with what this
  // stage keeps.
  Outputs forward(int micro_batch,
                  Tensors inputs,
                  const at::Tensor& targets = {},
                  const Tensors& own_inputs = {});

  // A gradient of a micro-batch; its loss as an Action names it.
  struct GradientName {
    int micro_batch = 0;
    std::uint8_t loss = 0;
  };
  // I of one gradient. Takes that of the outputs, which is empty for the stage's own loss, whose
  // gradient starts at `loss_scale`. Returns that of the inputs if it continues to the stage below.
  Tensors backward_input(const GradientName& gradient, Tensors arriving, double loss_scale);

  // W of one micro-batch, for all gradients, or of several at once as one product.
  void backward_weight(std::span<const int> micro_batches);

  // B, for a stage with one gradient: I and W of every layer in turn, so that nothing is kept
  // between them.
  Tensors backward(int micro_batch, Tensors arriving, double loss_scale);

  // Ends the sums of weight gradients, after those over other ranks: divides them if the stage
  // trains by the mean of its losses, and prunes them.
  void finish_gradients();

  // Forward without keeping anything.
  Outputs infer(Tensors inputs, const at::Tensor& targets = {}, const Tensors& own_inputs = {});

  // Returns the first of these micro-batches that is not through with its backward, or nothing.
  std::optional<int> first_unfinished(std::span<const int> micro_batches) const;
  // Ends a step of these micro-batches, which are finished, and then begin with F again.
  void finish_step(std::span<const int> micro_batches);

  // True when no micro-batch has anything saved.
  bool is_idle() const;

 private:
  // How far a micro-batch has come.
  enum class Phase { Empty, AfterForward, AfterInput, Done };
  // What is kept of one micro-batch: a Saved for each layer and one for the loss, and the side
  // inputs, which some layers need until W. The last gradient uses what F has kept; the others use
  // copies of it.
  struct InFlight {
    Phase phase = Phase::Empty;
    std::size_t num_carried = 0;  // gradients that have passed
    Call call;
    std::vector<Saved> layers;
    std::vector<std::vector<Saved>> copies;  // by gradient
    Saved loss;
    Tensors side_inputs;

    std::vector<Saved>& layers_of(std::size_t gradient) {
      return gradient < copies.size() ? copies[gradient] : layers;
    }
  };
  enum class Half { Input, Both };
  // True if some gradient goes through the layers.
  bool is_passed() const;
  // Returns what is kept. Throws ScheduleError if the micro-batch is not in this phase.
  InFlight& in_phase(int micro_batch, Phase phase);
  // The same; moves on to the next phase.
  InFlight& advance(int micro_batch, Phase from, Phase to);
  at::Tensor on_device(const at::Tensor& tensor) const { return tensor.to(options_.device); }
  Tensors on_device(Tensors tensors) const;
  // Gives the outputs of the layers to the next stage and to the loss.
  Outputs hand_out(Tensors outputs, const at::Tensor& targets, Saved& loss, const Call& call) const;
  // Carries one gradient from the loss or the stage above to the stage below.
  Tensors carry(InFlight& saved, std::size_t gradient, Tensors arriving, double scale, Half half);
  Tensors carry_through(InFlight& saved, std::size_t gradient, Tensors gradients, Half half);

  StageLayers layers_;
  Options options_;
  StageGradients gradients_;
  ParameterStore store_;
  ElementRange own_elements_;
  std::unique_ptr<Optimizer> optimizer_;
  std::int64_t step_ = 0;
  std::deque<InFlight> in_flight_;  // by micro-batch; growing moves none of them
};

}  // namespace halfback
