#include "halfback/layers/shared_head.h"

#include "halfback/kernels/rows.h"
#include "halfback/layers/products.h"
#include "halfback/layers/shapes.h"
#include "halfback/layers/usual_parameters.h"

#include <utility>

namespace halfback {

namespace {

// Slots of Saved::until_input.
enum { kInput, kStatistics, kLogProbabilities, kTargets };
// Slots of Saved::until_weight.
enum { kGradNorm, kGradScale, kGradBias };

}  // namespace

SharedHead::SharedHead(const std::string& prefix, const Options& options)
    : options_(options),
      norm_(prefix + ".norm", options.num_channels, options.epsilon),
      scale_(scale_parameter(prefix + ".scale", 1)),
      bias_(bias_parameter(prefix + ".bias", options.vocabulary)),
      copy_{.name = prefix + ".weight",
            .shape = {options.vocabulary, options.num_channels},
            .init = {},
            .trains = false} {}

std::vector<Parameter*> SharedHead::parameters() {
  return {norm_.parameters().front(), &scale_, &bias_, &copy_};
}

double SharedHead::forward(const at::Tensor& input,
                           const at::Tensor& targets,
                           Saved& saved,
                           const Call& /*call*/) {
  const Norm::Normed normed = norm_.normalize(as_rows(input));
  // Scales the rows, which are fewer numbers than the logits.
  normed.output.mul_(scale_.value);
  at::Tensor log_probabilities = product(normed.output, copy_, bias_.value);
  const double loss = kernels::log_softmax_loss(log_probabilities, targets);
  saved.until_input = {input, normed.statistics, log_probabilities, targets};
  return loss;
}

std::int64_t SharedHead::num_correct(const Saved& saved) const {
  return kernels::count_correct(saved.until_input[kLogProbabilities], saved.until_input[kTargets]);
}

at::Tensor SharedHead::backward_input(double scale, Saved& saved, const Call& /*call*/) {
  at::Tensor gradient = std::move(saved.until_input[kLogProbabilities]);
  kernels::log_softmax_loss_backward(gradient, saved.until_input[kTargets], scale);
  const at::Tensor input = saved.until_input[kInput];
  Norm::Gradients norm = norm_.backward({.rows = as_rows(input),
                                         .statistics = saved.until_input[kStatistics],
                                         .grad_output = product_backward_input(gradient, copy_),
                                         .makes_output = false});
  const at::Tensor grad_scale =
      norm.parameters.mul(norm_.parameters().front()->value).sum(0, /*keepdim=*/true);
  saved.until_input.clear();
  saved.until_weight = {norm.parameters.mul_(scale_.value), grad_scale, gradient.sum(0)};
  return norm.input.mul_(scale_.value).view(input.sizes());
}

void SharedHead::backward_weight(std::span<Saved*> saved) {
  for (Saved* const one : saved) {
    norm_.accumulate_gradients(one->until_weight[kGradNorm]);
    accumulate(one->until_weight[kGradScale], scale_);
    accumulate(one->until_weight[kGradBias], bias_);
    one->until_weight.clear();
  }
}

SavedBytes SharedHead::saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const {
  const std::int64_t channels = options_.num_channels;
  const std::int64_t rows = numel(input_shape) / channels;
  return {.until_input = rows * (channels + 1 + options_.vocabulary) * element_bytes,
          .gradients = (channels + 1 + options_.vocabulary) * element_bytes};
}

Flops SharedHead::flops(const Shape& input_shape) const {
  Flops flops = product_flops(numel(input_shape) / options_.num_channels, {&copy_});
  flops.weight = 0;  // its matrix is a copy
  return flops;
}

}  // namespace halfback
