// A layer with its backward in two halves: the gradient of its input (I) and the gradients of its
// parameters (W), each called when the schedule says so.
//
// Shape letters in this folder: N samples in a micro-batch, T sequence, C channels, H heads, K
// key/value heads, D head size, F hidden, V vocabulary; M = N x T rows.
//
// Source of the split: Rae, Lee, Richings, "2BP: 2-Stage Backpropagation", arXiv:2405.18047.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace halfback {

// Which values a parameter starts with.
enum class Draw {
  Normal,           // around the mean; all equal to it without a standard deviation
  Uniform,          // likewise
  LogOfColumn,      // log(1), log(2), ... along the last dimension
  InverseSoftplus,  // log(1 + e^value) is spread evenly by its logarithm from 0.001 to 0.1
  Given,            // those of Parameter::given
};
struct Init {
  double mean = 0.0;
  double standard_deviation = 0.0;
  Draw draw = Draw::Normal;
};

// Rows [begin, end) of a parameter under the name they have in a checkpoint.
struct NamedRows {
  std::string name;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

// What travels between layers. Layers work on the first tensor; behind it may ride others, such as
// a mask, that belong to the micro-batch too.
using Tensors = std::vector<at::Tensor>;

// A tensor that training changes. The stage gives value and gradient their memory; the layer reads
// the one and accumulates into the other.
struct Parameter {
  std::string name;
  std::vector<std::int64_t> shape;
  Init init;
  bool decays = true;    // weight decay applies: matrices yes, norms and biases no
  bool is_copy = false;  // of the parameter of that name on an earlier layer: equal at all times
  bool trains = true;    // false: a running statistic, which has no gradient and which W changes
  std::vector<NamedRows> checkpoint_rows = {};
  at::Tensor given = {};  // let go of when its values have been taken
  at::Tensor value = {};
  at::Tensor rounded = {};  // the value in the type of the products, where that is a smaller one
  at::Tensor gradient = {};
  bool has_gradient = false;  // false until the first accumulation of a step, which overwrites

  std::int64_t numel() const;

  // Returns what products take: the rounded value where there is one.
  const at::Tensor& operand() const { return rounded.defined() ? rounded : value; }
};

class AutogradGraph;

// What one layer keeps of one micro-batch between its calls, and what it may know about it.
struct Saved {
  Tensors until_input;                        // dropped by backward_input
  Tensors until_weight;                       // dropped by backward_weight
  std::vector<Saved> members = {};            // of the layers inside, where a layer holds others
  std::shared_ptr<AutogradGraph> graph = {};  // of a module of libtorch, until W
  std::vector<std::int64_t> shape = {};       // of the input, where no kept tensor has it
  std::uint64_t key = 0;    // of the micro-batch in its step: random masks are drawn from it
  bool is_training = true;  // false: no dropout, running statistics are read
  bool is_copy = false;     // of the same micro-batch for another gradient: W moves no statistics

  bool is_empty() const;
};

// Returns the same on memory of its own. Throws ConfigError with the text given where a module of
// libtorch is among it, whose graph there is once.
Saved cloned(const Saved& saved, const std::string& refusal);

// Returns what F has kept once more, on memory of its own, for the gradient of another loss: I, and
// W if the gradient counts, then run on each of the two. Throws ConfigError for a module of
// libtorch, whose graph runs once.
Saved copy_for_another_gradient(const Saved& saved);

// Bytes of storage that a layer keeps of one micro-batch. A layer counts its input and its
// incoming gradient when it keeps them, never its output or the gradient that it returns, so that
// the bytes of a stage are the sum over its layers. Token ids belong to the mini-batch.
struct SavedBytes {
  std::int64_t until_input = 0;   // from F to I
  std::int64_t until_weight = 0;  // from F to W
  std::int64_t gradients = 0;     // from I to W

  SavedBytes& operator+=(const SavedBytes& other);
  bool operator==(const SavedBytes&) const = default;
};

// Calls come from one thread at a time. For each micro-batch: forward, backward_input,
// backward_weight, on the same Saved. Tensors are contiguous.
class Layer {
 public:
  Layer() = default;
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;
  virtual ~Layer() = default;

  // Returns the parameters in the order of the checkpoint; they live as long as the layer.
  virtual std::vector<Parameter*> parameters() { return {}; }

  // Returns the tensors that the layer reads beside them and that nothing changes, such as a table
  // of positions. Layers are made on the CPU; a stage moves these where it computes.
  virtual std::vector<at::Tensor*> constants() { return {}; }

  // Returns the output and keeps in `saved` what the two halves of backward need.
  virtual at::Tensor forward(const at::Tensor& input, Saved& saved) = 0;

  // Returns the gradient of the input, given that of the output, and frees what W does not need.
  // A layer whose input has no gradient (token ids) returns an undefined tensor.
  virtual at::Tensor backward_input(const at::Tensor& grad_output, Saved& saved) = 0;

  // Both on all that travels. As they stand, the layer works on the first tensor and the others
  // pass by; a layer that reads or makes several overrides them. Tensors without a gradient (ids,
  // masks) have an undefined one.
  virtual Tensors forward_all(Tensors inputs, Saved& saved);
  virtual Tensors backward_input_all(Tensors grad_outputs, Saved& saved);

  // Accumulates the gradients of the parameters and frees the rest.
  virtual void backward_weight(Saved& saved) = 0;

  // I and W in one: nothing waits in between.
  virtual Tensors backward_all(Tensors grad_outputs, Saved& saved);

  // W for several micro-batches at once, in ascending order. The default is a loop; layers with a
  // matrix product compute one product over all of them (equal to rounding).
  virtual void backward_weight_concatenated(std::span<Saved*> saved);

  // Returns what is kept for an input of this shape; `element_bytes` is 4 for float32.
  virtual SavedBytes saved_bytes(std::span<const std::int64_t> input_shape,
                                 std::int64_t element_bytes) const = 0;

  // Returns the shape of the output for an input of this shape.
  virtual std::vector<std::int64_t> output_shape(
      std::span<const std::int64_t> input_shape) const = 0;
};

// The last layer of a model, or a local head: turns activations and targets into a loss.
class LossLayer {
 public:
  LossLayer() = default;
  LossLayer(const LossLayer&) = delete;
  LossLayer& operator=(const LossLayer&) = delete;
  virtual ~LossLayer() = default;

  virtual std::vector<Parameter*> parameters() { return {}; }

  // Returns the summed loss over all targets; nothing is divided. Targets below 0 have no loss.
  virtual double forward(const at::Tensor& input, const at::Tensor& targets, Saved& saved) = 0;

  // Returns for how many targets forward() found the highest score.
  virtual std::int64_t num_correct(const Saved& saved) const = 0;

  // Returns the gradient of scale x loss with respect to the input.
  virtual at::Tensor backward_input(double scale, Saved& saved) = 0;

  virtual void backward_weight(Saved& saved) = 0;
  virtual void backward_weight_concatenated(std::span<Saved*> saved);
  virtual SavedBytes saved_bytes(std::span<const std::int64_t> input_shape,
                                 std::int64_t element_bytes) const = 0;
};

}  // namespace halfback
