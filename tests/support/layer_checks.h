// What every test of a layer needs: memory and values for its parameters, one micro-batch through
// F, I and W, the same through autograd, numeric gradients, and comparisons.
//
// Gradients start as NaN, so that a first accumulation that reads old memory is seen everywhere.
#pragma once

#include "halfback/layers/layer.h"
#include "tests/support/threads.h"

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace halfback {

inline constexpr std::uint64_t kSeed = 20240617;

// Reproducible values.
class Random {
 public:
  explicit Random(std::uint64_t seed = kSeed);
  at::Tensor normal(at::IntArrayRef shape, at::ScalarType dtype);
  // Between 0.5 and 1.5: a norm's weight of exactly 1 hides a backward that leaves it out.
  at::Tensor around_one(at::IntArrayRef shape, at::ScalarType dtype);
  // Token ids in [0, vocabulary).
  at::Tensor ids(at::IntArrayRef shape, std::int64_t vocabulary);

 private:
  at::Generator generator_;
};

// Returns those that have gradients.
std::vector<Parameter*> trained(const std::vector<Parameter*>& parameters);

// Gives parameters their memory and values that are far from those they start training with.
void give_memory(const std::vector<Parameter*>& parameters, at::ScalarType dtype, Random& random);

// As before the first accumulation of a step; the memory holds NaN.
void forget_gradients(const std::vector<Parameter*>& parameters);

// Of those that train, as everything below.
std::vector<at::Tensor> copy_gradients(const std::vector<Parameter*>& parameters);

// Lets a loss layer take part in the checks of layers: the output is the loss, a double without
// dimensions, and its gradient the scale. Inputs of one shape have the same targets.
class LossAsLayer : public OneTensorLayer {
 public:
  using Targets = std::function<at::Tensor(at::IntArrayRef input_shape)>;
  LossAsLayer(std::unique_ptr<LossLayer> layer, Targets targets);

  std::vector<Parameter*> parameters() override { return layer_->parameters(); }
  at::Tensor forward(const at::Tensor& input, Saved& saved, const Call& call) override;
  at::Tensor backward_input(const at::Tensor& grad_output, Saved& saved, const Call& call) override;
  void backward_weight(std::span<Saved*> saved) override { layer_->backward_weight(saved); }
  SavedBytes saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const override {
    return layer_->saved_bytes(input_shape, element_bytes);
  }
  Shape output_shape(const Shape& /*input_shape*/) const override { return {}; }

 private:
  std::unique_ptr<LossLayer> layer_;
  Targets targets_;
};

// F, I and W of one micro-batch, without side inputs.
at::Tensor forward_of(Layer& layer, const at::Tensor& input, Saved& saved, const Call& call = {});
at::Tensor input_gradient_of(Layer& layer,
                             const at::Tensor& grad_output,
                             Saved& saved,
                             const Call& call = {});
void weight_gradients_of(Layer& layer, Saved& saved);

// What comes out of one micro-batch; grad_input is undefined where the input has no gradient.
struct Results {
  at::Tensor output;
  at::Tensor grad_input;
  std::vector<at::Tensor> grad_parameters;
};

// F, I and W on gradients that start anew.
Results run_layer(Layer& layer, const at::Tensor& input, const at::Tensor& grad_output);

// The mathematics of a layer as a function of its parameters and its input: those that train, then
// matrices that do not.
using Reference =
    std::function<at::Tensor(const std::vector<at::Tensor>& parameters, const at::Tensor& input)>;

Results run_autograd(const Reference& reference,
                     const std::vector<Parameter*>& parameters,
                     const at::Tensor& input,
                     const at::Tensor& grad_output);

// Central differences of `function` with respect to each element of the double tensor `at`, which
// is changed in place and restored.
at::Tensor numeric_gradient(const std::function<double()>& function, const at::Tensor& at);

// Largest absolute difference over the largest absolute expected value. Infinite when shapes or
// types differ or a value is not finite.
double relative_error(const at::Tensor& actual, const at::Tensor& expected);

// Same type, shape and bits.
bool same_bits(const at::Tensor& actual, const at::Tensor& expected);

}  // namespace halfback
