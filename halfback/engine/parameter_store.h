// The memory of a stage's parameters: one flat buffer of values and one of gradients, decaying
// parameters first, so that an optimizer needs one call for each of the two groups. Parameters that
// do not train stand behind, in a buffer of their own without gradients.
#pragma once

#include "halfback/group/pairwise_sum.h"
#include "halfback/layers/layer.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace halfback {

class ParameterStore {
 public:
  // Gives every parameter its value and gradient as views of the buffers. The parameters must
  // outlive the store.
  struct Options {
    at::ScalarType dtype = at::kFloat;
    // The type of the decaying parameters in matrix products, when it is smaller.
    std::optional<at::ScalarType> product_dtype = {};
    at::Device device = at::kCPU;
    int gradient_groups = 1;  // of a step: a power of two
  };
  ParameterStore(std::vector<Parameter*> parameters, const Options& options);

  // In model order; those that do not train among them.
  const std::vector<Parameter*>& parameters() const { return parameters_; }

  const at::Tensor& values() const { return values_; }
  const at::Tensor& gradients() const { return gradients_; }
  std::int64_t gradient_bytes() const;                          // sums of groups included
  const at::Tensor& statistics() const { return statistics_; }  // what does not train
  const at::Tensor& rounded() const { return rounded_; }        // undefined without product_dtype

  // Elements [0, num_decaying()) of a buffer decay, the rest do not.
  std::int64_t num_decaying() const { return num_decaying_; }

  // Returns the part of a buffer of the same layout that belongs to a parameter that trains, in its
  // shape.
  at::Tensor view(const at::Tensor& buffer, std::size_t parameter) const;

  // Draws initial values, or takes those that are given, once. What is drawn depends on the seed
  // and the parameter's number in the model only, on every device.
  void initialize(std::uint64_t seed, std::span<const std::uint64_t> numbers);

  // Rounds the values for products. Call it again after they have changed.
  void round_values();

  // Makes the next accumulation into each gradient overwrite it.
  void forget_gradients();

  // Sets to zero what no accumulation has written since, before an optimizer reads it.
  void complete_gradients();

  // Ends a gradient group: its sum is added to those before it, and the next group starts;
  // after the last one the gradients are those of the step.
  void end_gradient_group(bool is_last);

  // Multiplies all gradients.
  void scale_gradients(double factor);

  // Returns the sum of squares of each gradient, in model order. A parameter without a gradient in
  // this step counts 0, and so does a copy, which has the gradient of its original.
  std::vector<double> squared_gradient_norms() const;

 private:
  std::vector<Parameter*> parameters_;
  std::vector<std::int64_t> offsets_;
  std::int64_t num_decaying_ = 0;
  at::Tensor values_;
  at::Tensor rounded_;  // of the first num_decaying() values
  at::Tensor gradients_;
  PairwiseSum group_sums_;
  std::vector<at::Tensor> spares_;  // for sums of groups: those that hold none
  std::int64_t group_bytes_ = 0;
  at::Tensor statistics_;
};

}  // namespace halfback
