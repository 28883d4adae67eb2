#include "halfback/layers/masked_language_model_head.h"

#include "halfback/kernels/rows.h"
#include "halfback/layers/products.h"
#include "halfback/layers/shapes.h"
#include "halfback/layers/usual_parameters.h"

#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>

#include <utility>

namespace halfback {

namespace {

// Slots of Saved::until_input.
enum { kTargets, kHidden, kStatistics, kLogProbabilities };
// Slots of Saved::until_weight; F fills the first, I the rest.
enum { kInput, kGradLogits, kNormed, kGradHidden, kGradNorm };

}  // namespace

MaskedLanguageModelHead::MaskedLanguageModelHead(const std::string& prefix,
                                                 const Options& options,
                                                 std::unique_ptr<Norm> norm)
    : options_(options),
      norm_(std::move(norm)),
      transform_{.name = prefix + ".transform.dense.weight",
                 .shape = {options.num_channels, options.num_channels},
                 .init = {.standard_deviation = options.standard_deviation}},
      transform_bias_(bias_parameter(prefix + ".transform.dense.bias", options.num_channels)),
      words_{.name = options.embedding_name,
             .shape = {options.vocabulary, options.num_channels},
             .init = {},
             .is_copy = true},
      bias_(bias_parameter(prefix + ".bias", options.vocabulary)) {}

std::vector<Parameter*> MaskedLanguageModelHead::parameters() {
  std::vector<Parameter*> all = {&transform_, &transform_bias_};
  for (Parameter* const parameter : norm_->parameters()) {
    all.push_back(parameter);
  }
  all.insert(all.end(), {&words_, &bias_});
  return all;
}

at::Tensor MaskedLanguageModelHead::logits(const at::Tensor& input) const {
  const at::Tensor hidden = product(as_rows(input), transform_, transform_bias_.value);
  const at::Tensor normed = norm_->normalize(at::gelu(hidden)).output;
  return product(normed, words_, bias_.value)
      .view(with_last_size(input.sizes(), options_.vocabulary));
}

double MaskedLanguageModelHead::forward(const at::Tensor& input,
                                        const at::Tensor& targets,
                                        Saved& saved,
                                        const Call& /*call*/) {
  const at::Tensor x = as_rows(input);
  const at::Tensor hidden = product(x, transform_, transform_bias_.value);
  const Norm::Normed normed = norm_->normalize(at::gelu(hidden));
  at::Tensor log_probabilities = product(normed.output, words_, bias_.value);
  const double loss = kernels::log_softmax_loss(log_probabilities, targets);
  saved.until_input = {targets, hidden, normed.statistics, log_probabilities};
  saved.until_weight = {x};
  return loss;
}

std::int64_t MaskedLanguageModelHead::num_correct(const Saved& saved) const {
  return kernels::count_correct(saved.until_input[kLogProbabilities], saved.until_input[kTargets]);
}

at::Tensor MaskedLanguageModelHead::backward_input(double scale,
                                                   Saved& saved,
                                                   const Call& /*call*/) {
  at::Tensor grad_logits = std::move(saved.until_input[kLogProbabilities]);
  kernels::log_softmax_loss_backward(grad_logits, saved.until_input[kTargets], scale);
  const at::Tensor hidden = saved.until_input[kHidden];
  Norm::Gradients norm =
      norm_->backward({.rows = at::gelu(hidden),
                       .statistics = saved.until_input[kStatistics],
                       .grad_output = product_backward_input(grad_logits, words_)});
  at::Tensor grad_hidden = norm.input;
  at::gelu_backward_out(grad_hidden, grad_hidden, hidden);
  saved.until_input.clear();
  saved.until_weight.insert(saved.until_weight.end(),
                            {grad_logits, norm.output, grad_hidden, norm.parameters});
  return product_backward_input(grad_hidden, transform_);
}

void MaskedLanguageModelHead::backward_weight(std::span<Saved*> saved) {
  affine_backward_weight(take_rows(saved, kGradLogits), take_rows(saved, kNormed), words_, bias_);
  affine_backward_weight(take_rows(saved, kGradHidden), take_rows(saved, kInput), transform_,
                         transform_bias_);
  for (Saved* const one : saved) {
    norm_->accumulate_gradients(one->until_weight[kGradNorm]);
    one->until_weight.clear();
  }
}

SavedBytes MaskedLanguageModelHead::saved_bytes(const Shape& input_shape,
                                                std::int64_t element_bytes) const {
  const std::int64_t channels = options_.num_channels;
  const std::int64_t rows = numel(input_shape) / channels;
  return {.until_input = rows * (channels + norm_->num_statistics()) * element_bytes,
          .until_weight = rows * (channels + options_.vocabulary) * element_bytes,
          .gradients = (rows * 2 + norm_->num_parameters()) * channels * element_bytes};
}

Flops MaskedLanguageModelHead::flops(const Shape& input_shape) const {
  return product_flops(numel(input_shape) / options_.num_channels, {&transform_, &words_});
}

}  // namespace halfback
