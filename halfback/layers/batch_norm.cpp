#include "halfback/layers/batch_norm.h"

#include "halfback/base/error.h"
#include "halfback/kernels/images.h"
#include "halfback/layers/products.h"
#include "halfback/layers/shapes.h"
#include "halfback/layers/usual_parameters.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <fmt/format.h>

#include <utility>

namespace halfback {

namespace {

// Slots of Saved::until_weight.
enum { kStatistics, kGradients };
// Rows of the statistics and of the gradients.
enum { kMean = 0, kVariance = 1, kWeight = 0, kBias = 1 };

Parameter statistic(std::string name, std::vector<std::int64_t> shape, double mean) {
  return {.name = std::move(name),
          .shape = std::move(shape),
          .init = {.mean = mean},
          .decays = false,
          .trains = false};
}

std::int64_t values_per_channel(std::span<const std::int64_t> shape) {
  return numel(shape) / shape[1];
}

}  // namespace

BatchNorm::BatchNorm(const std::string& name, const Options& options)
    : options_(options),
      weight_(scale_parameter(name + ".weight", options.num_channels)),
      bias_(bias_parameter(name + ".bias", options.num_channels)),
      running_mean_(statistic(name + ".running_mean", {options.num_channels}, 0.0)),
      running_variance_(statistic(name + ".running_var", {options.num_channels}, 1.0)),
      num_batches_(statistic(name + ".num_batches_tracked", {}, 0.0)) {}

std::vector<Parameter*> BatchNorm::parameters() {
  return {&weight_, &bias_, &running_mean_, &running_variance_, &num_batches_};
}

at::Tensor BatchNorm::normalize(const at::Tensor& input,
                                const at::Tensor& mean,
                                const at::Tensor& variance) const {
  at::Tensor output = at::empty_like(input);
  kernels::batch_norm({.mean = mean,
                       .variance = variance,
                       .weight = weight_.value,
                       .bias = bias_.value,
                       .epsilon = options_.epsilon,
                       .has_relu = options_.has_relu},
                      input, output);
  return output;
}

at::Tensor BatchNorm::forward(const at::Tensor& input, Saved& saved, const Call& call) {
  if (!call.is_training) {
    return normalize(input, running_mean_.value, running_variance_.value);
  }
  if (values_per_channel(input.sizes()) < 2) {
    throw ConfigError(
        fmt::format("model: {} gets one value for each of its {} channels; the statistics of a "
                    "batch norm need 2 or more; use larger micro-batches or images",
                    weight_.name, options_.num_channels));
  }
  const at::Tensor statistics = at::empty({2, options_.num_channels}, input.options());
  at::Tensor mean = statistics.select(0, kMean);
  at::Tensor variance = statistics.select(0, kVariance);
  kernels::channel_statistics(input, mean, variance);
  saved.until_input = {input};
  saved.until_weight = {statistics};
  return normalize(input, mean, variance);
}

at::Tensor BatchNorm::backward_input(const at::Tensor& grad_output,
                                     Saved& saved,
                                     const Call& /*call*/) {
  const at::Tensor input = saved.until_input.front();
  const at::Tensor statistics = saved.until_weight[kStatistics];
  const at::Tensor gradients = at::empty_like(statistics);
  at::Tensor grad_input = at::empty_like(input);
  at::Tensor grad_weight = gradients.select(0, kWeight);
  at::Tensor grad_bias = gradients.select(0, kBias);
  kernels::batch_norm_backward({.mean = statistics.select(0, kMean),
                                .variance = statistics.select(0, kVariance),
                                .weight = weight_.value,
                                .bias = bias_.value,
                                .epsilon = options_.epsilon,
                                .has_relu = options_.has_relu},
                               {.input = input,
                                .grad_output = grad_output,
                                .grad_input = grad_input,
                                .grad_weight = grad_weight,
                                .grad_bias = grad_bias});
  saved.until_input.clear();
  saved.until_weight.push_back(gradients);
  // Makes the variance unbiased now, because x, which has the number of values, is freed here.
  const auto count = static_cast<double>(values_per_channel(input.sizes()));
  statistics.select(0, kVariance).mul_(count / (count - 1.0));
  return grad_input;
}

void BatchNorm::backward_weight(std::span<Saved*> saved) {
  for (Saved* const one : saved) {
    const at::Tensor& gradients = one->until_weight[kGradients];
    accumulate(gradients.select(0, kWeight), weight_);
    accumulate(gradients.select(0, kBias), bias_);
    if (!one->is_copy) {
      move_statistics(one->until_weight[kStatistics]);
    }
    one->until_weight.clear();
  }
}

void BatchNorm::move_statistics(const at::Tensor& found) {
  const double kept = 1.0 - options_.momentum;
  running_mean_.value.mul_(kept).add_(found.select(0, kMean), options_.momentum);
  running_variance_.value.mul_(kept).add_(found.select(0, kVariance), options_.momentum);
  num_batches_.value.add_(1.0);
}

SavedBytes BatchNorm::saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const {
  return {.until_input = numel(input_shape) * element_bytes,
          .until_weight = 2 * options_.num_channels * element_bytes,
          .gradients = 2 * options_.num_channels * element_bytes};
}

}  // namespace halfback
