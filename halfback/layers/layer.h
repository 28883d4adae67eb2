// A layer with its backward in two halves: the gradient of its input (I) and the gradients of its
// parameters (W), each called when the schedule says so.
//
// Shape letters in this folder: N samples in a micro-batch, T sequence, C channels, H heads, K
// key/value heads, D head size, F hidden, V vocabulary; M = N x T rows.
//
// Source of the split backward: Rae, Lee, Richings, "2BP: 2-Stage Backpropagation",
// arXiv:2405.18047.
#pragma once

#include "halfback/layers/call.h"
#include "halfback/layers/flops.h"
#include "halfback/layers/parameter.h"
#include "halfback/layers/saved.h"
#include "halfback/layers/shapes.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace halfback {

// The outputs, saved bytes and operations of a layer for inputs of certain shapes.
struct Described {
  std::vector<Shape> shapes;  // of the outputs
  SavedBytes bytes;           // kept
  Flops flops = {};
};

// Calls come from one thread at a time. For each micro-batch: forward, backward_input,
// backward_weight, on the same Saved. Tensors are contiguous.
class Layer {
 public:
  Layer() = default;
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;
  virtual ~Layer() = default;

  // Returns the parameters in checkpoint order; they live as long as the layer.
  virtual std::vector<Parameter*> parameters() { return {}; }

  // Returns other tensors that the layer reads and nothing changes, such as a table of positions.
  // Layers are made on the CPU; a stage moves these tensors to its device.
  virtual std::vector<at::Tensor*> buffers() { return {}; }

  // Returns the outputs, and keeps in `saved` what the two halves of the backward need.
  virtual Tensors forward(Tensors inputs, Saved& saved, const Call& call) = 0;

  // Returns the gradients of the inputs, given those of the outputs, and frees what W does not
  // need. Inputs without a gradient (token ids, side inputs) have an undefined one.
  virtual Tensors backward_input(Tensors grad_outputs, Saved& saved, const Call& call) = 0;

  // Accumulates the gradients of the parameters over these micro-batches, in ascending order, and
  // frees the rest. Layers with a matrix product compute one product over all of them, which equals
  // one call for each up to rounding. By default there are no parameters.
  virtual void backward_weight(std::span<Saved*> /*saved*/) {}

  // Runs I and W in one call: nothing is kept in between.
  virtual Tensors backward(Tensors grad_outputs, Saved& saved, const Call& call);

  // `element_bytes` is 4 for activations in float32.
  virtual Described describe(std::vector<Shape> shapes, std::int64_t element_bytes) const = 0;
};

// A layer that sees only the first tensor; side inputs are passed on.
class OneTensorLayer : public Layer {
 public:
  Tensors forward(Tensors inputs, Saved& saved, const Call& call) final;
  Tensors backward_input(Tensors grad_outputs, Saved& saved, const Call& call) final;
  Described describe(std::vector<Shape> shapes, std::int64_t element_bytes) const final;

  virtual at::Tensor forward(const at::Tensor& input, Saved& saved, const Call& call) = 0;
  virtual at::Tensor backward_input(const at::Tensor& grad_output,
                                    Saved& saved,
                                    const Call& call) = 0;
  virtual SavedBytes saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const = 0;
  // By default it has no product.
  virtual Flops flops(const Shape& /*input_shape*/) const { return {}; }
  // By default the shape of the input.
  virtual Shape output_shape(const Shape& input_shape) const { return input_shape; }
};

// The last layer of a model, or a local head: turns activations and targets into a loss.
class LossLayer {
 public:
  LossLayer() = default;
  LossLayer(const LossLayer&) = delete;
  LossLayer& operator=(const LossLayer&) = delete;
  virtual ~LossLayer() = default;

  virtual std::vector<Parameter*> parameters() { return {}; }

  // Returns the summed loss over all targets, not a mean. Targets below 0 have no loss.
  virtual double forward(const at::Tensor& input,
                         const at::Tensor& targets,
                         Saved& saved,
                         const Call& call) = 0;

  // Returns the number of targets with the highest score in forward().
  virtual std::int64_t num_correct(const Saved& saved) const = 0;

  // Returns the gradient of scale x loss with respect to the input, which is always needed.
  virtual at::Tensor backward_input(double scale, Saved& saved, const Call& call) = 0;

  // As that of Layer.
  virtual void backward_weight(std::span<Saved*> saved) = 0;

  virtual SavedBytes saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const = 0;
  virtual Flops flops(const Shape& input_shape) const = 0;

  // Returns the matrix [outcomes, C] whose product gives the scores, or null if there is none that
  // others could use. One that does not train is a copy of the matrix at the end of the model.
  virtual Parameter* output_matrix() { return nullptr; }
};

}  // namespace halfback
