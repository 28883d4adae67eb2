#include "halfback/layers/classifier_head.h"

#include "halfback/kernels/rows.h"
#include "halfback/layers/products.h"
#include "halfback/layers/shapes.h"
#include "halfback/layers/usual_parameters.h"

#include <ATen/ops/sum.h>

#include <cmath>
#include <utility>

namespace halfback {

namespace {

// Slots of Saved::until_input.
enum { kTargets };
// Slots of Saved::until_weight. Until I, the logits' memory holds log-probabilities.
enum { kInput, kLogits };

}  // namespace

ClassifierHead::ClassifierHead(const std::string& name, const Options& options)
    : options_(options),
      weight_{.name = name + ".weight",
              .shape = {options.num_classes, options.num_channels},
              .init = {.standard_deviation =
                           1.0 / std::sqrt(3.0 * static_cast<double>(options.num_channels))}},
      bias_(bias_parameter(name + ".bias", options.num_classes)) {}

at::Tensor ClassifierHead::logits(const at::Tensor& input) const {
  return product(as_rows(input), weight_).add_(bias_.value);
}

double ClassifierHead::forward(const at::Tensor& input,
                               const at::Tensor& targets,
                               Saved& saved,
                               const Call& /*call*/) {
  at::Tensor log_probabilities = logits(input);
  const double loss = kernels::log_softmax_loss(log_probabilities, targets);
  saved.until_input = {targets};
  saved.until_weight = {input, log_probabilities};
  return loss;
}

std::int64_t ClassifierHead::num_correct(const Saved& saved) const {
  return kernels::count_correct(saved.until_weight[kLogits], saved.until_input[kTargets]);
}

at::Tensor ClassifierHead::backward_input(double scale, Saved& saved, const Call& /*call*/) {
  at::Tensor& gradient = saved.until_weight[kLogits];
  kernels::log_softmax_loss_backward(gradient, saved.until_input[kTargets], scale);
  saved.until_input.clear();
  return product_backward_input(gradient, weight_).view(saved.until_weight[kInput].sizes());
}

void ClassifierHead::backward_weight(std::span<Saved*> saved) {
  const at::Tensor input = take_rows(saved, kInput);
  const at::Tensor gradient = take_rows(saved, kLogits);
  product_backward_weight(gradient, input, weight_);
  accumulate(gradient.sum(0), bias_);
  for (Saved* one : saved) {
    one->until_weight.clear();
  }
}

SavedBytes ClassifierHead::saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const {
  const std::int64_t rows = numel(input_shape) / options_.num_channels;
  return {.until_weight = rows * (options_.num_channels + options_.num_classes) * element_bytes};
}

Flops ClassifierHead::flops(const Shape& input_shape) const {
  return product_flops(numel(input_shape) / options_.num_channels, {&weight_});
}

}  // namespace halfback
