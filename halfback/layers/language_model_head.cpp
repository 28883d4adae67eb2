#include "halfback/layers/language_model_head.h"

#include "halfback/kernels/rows.h"
#include "halfback/layers/products.h"
#include "halfback/layers/shapes.h"

#include <utility>

namespace halfback {

namespace {

// Slots of Saved::until_input.
enum { kInput, kStatistics, kLogProbabilities, kTargets };
// Slots of Saved::until_weight.
enum { kNormed, kGradLogits, kGradNorm };

}  // namespace

LanguageModelHead::LanguageModelHead(const Options& options)
    : options_(options),
      norm_(options.norm_name, options.num_channels, options.epsilon),
      weight_{.name = options.weight_name,
              .shape = {options.vocabulary, options.num_channels},
              .init = {.standard_deviation = options.standard_deviation},
              .is_copy = options.is_tied} {}

std::vector<Parameter*> LanguageModelHead::parameters() {
  return {norm_.parameters().front(), &weight_};
}

at::Tensor LanguageModelHead::logits(const at::Tensor& input) const {
  return product(norm_.normalize(as_rows(input)).output, weight_)
      .view(with_last_size(input.sizes(), options_.vocabulary));
}

double LanguageModelHead::forward(const at::Tensor& input,
                                  const at::Tensor& targets,
                                  Saved& saved,
                                  const Call& /*call*/) {
  const Norm::Normed normed = norm_.normalize(as_rows(input));
  at::Tensor log_probabilities = product(normed.output, weight_);
  const double loss = kernels::log_softmax_loss(log_probabilities, targets);
  saved.until_input = {input, normed.statistics, log_probabilities, targets};
  return loss;
}

at::Tensor LanguageModelHead::backward_input(double scale, Saved& saved, const Call& /*call*/) {
  at::Tensor gradient = std::move(saved.until_input[kLogProbabilities]);
  kernels::log_softmax_loss_backward(gradient, saved.until_input[kTargets], scale);
  const at::Tensor input = saved.until_input[kInput];
  Norm::Gradients norm = norm_.backward({.rows = as_rows(input),
                                         .statistics = saved.until_input[kStatistics],
                                         .grad_output = product_backward_input(gradient, weight_)});
  saved.until_input.clear();
  saved.until_weight = {norm.output, gradient, norm.parameters};
  return norm.input.view(input.sizes());
}

std::int64_t LanguageModelHead::num_correct(const Saved& saved) const {
  return kernels::count_correct(saved.until_input[kLogProbabilities], saved.until_input[kTargets]);
}

void LanguageModelHead::backward_weight(std::span<Saved*> saved) {
  product_backward_weight(take_rows(saved, kGradLogits), take_rows(saved, kNormed), weight_);
  for (Saved* one : saved) {
    norm_.accumulate_gradients(one->until_weight[kGradNorm]);
    one->until_weight.clear();
  }
}

SavedBytes LanguageModelHead::saved_bytes(const Shape& input_shape,
                                          std::int64_t element_bytes) const {
  const std::int64_t channels = options_.num_channels;
  const std::int64_t rows = numel(input_shape) / channels;
  return {.until_input = rows * (channels + 1) * element_bytes,
          .until_weight = rows * options_.vocabulary * element_bytes,
          .gradients = (rows + 1) * channels * element_bytes};
}

Flops LanguageModelHead::flops(const Shape& input_shape) const {
  return product_flops(numel(input_shape) / options_.num_channels, {&weight_});
}

}  // namespace halfback
