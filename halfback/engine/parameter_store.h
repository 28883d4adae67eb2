// The memory of a stage's parameters: one flat buffer of values and one of gradients, decaying
// parameters first, so that an optimizer needs one call for each of the two groups. Parameters that
// do not train have their own buffer, without gradients, matrices first.
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
    // The type of matrices in products, if smaller: of what decays, and of what would.
    std::optional<at::ScalarType> product_dtype = {};
    at::Device device = at::kCPU;
    int gradient_groups = 1;  // of a step: a power of two
    bool is_pruned = false;   // some of the trained values are held at 0
  };
  ParameterStore(std::vector<Parameter*> parameters, const Options& options);

  // In model order, including those that do not train.
  const std::vector<Parameter*>& parameters() const { return parameters_; }

  const at::Tensor& values() const { return values_; }
  const at::Tensor& gradients() const { return gradients_; }
  std::int64_t gradient_bytes() const;                          // including sums of groups
  const at::Tensor& statistics() const { return statistics_; }  // what does not train
  const at::Tensor& rounded() const { return rounded_; }        // undefined without product_dtype
  const at::Tensor& mask() const { return mask_; }  // Parameter::mask; undefined unless is_pruned

  // Elements [0, num_decaying()) of a buffer decay, the rest do not.
  std::int64_t num_decaying() const { return num_decaying_; }

  // Returns the part of a buffer of the same layout that belongs to a trained parameter, in its
  // shape.
  at::Tensor view(const at::Tensor& buffer, std::size_t parameter) const;

  // Draws the initial values, or takes those given, once. Drawn values depend only on the seed and
  // the parameter's number in the model, on every device.
  void initialize(std::uint64_t seed, std::span<const std::uint64_t> numbers);

  // Rounds the values for products. Call it again after they have changed.
  void round_values();

  // Makes the next accumulation into each gradient overwrite it.
  void forget_gradients();

  // Sets gradients to zero that nothing has written since. Call it before an optimizer reads them.
  void complete_gradients();

  // Ends a gradient group: adds its sum to those of earlier groups, and starts the next. After the
  // last group, the gradients are those of the step.
  void end_gradient_group(bool is_last);

  // Sets values whose mask is 0 to 0, and counts them. Call it after masks have changed.
  void take_mask();

  // Sets gradients of what is held at 0 to 0. No optimizer then moves it.
  void prune_gradients();

  // Multiplies all gradients.
  void scale_gradients(double factor);

  // Returns the sum of squares of each gradient, in model order. A parameter without a gradient in
  // this step counts 0. So does a copy, because it has its original's gradient.
  std::vector<double> squared_gradient_norms() const;

 private:
  std::vector<Parameter*> parameters_;
  std::vector<std::int64_t> offsets_;
  std::int64_t num_decaying_ = 0;
  std::int64_t num_fixed_ = 0;  // elements of matrices that do not train
  at::Tensor values_;
  at::Tensor rounded_;  // of the decaying values, then of the matrices that do not train
  at::Tensor gradients_;
  at::Tensor mask_;
  PairwiseSum group_sums_;
  std::vector<at::Tensor> spares_;  // for sums of groups: those not in use
  std::int64_t group_bytes_ = 0;
  at::Tensor statistics_;
};

}  // namespace halfback
