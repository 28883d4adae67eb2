#include "halfback/layers/layer_norm.h"

#include "halfback/kernels/rows.h"
#include "halfback/layers/products.h"
#include "halfback/layers/usual_parameters.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <utility>

namespace halfback {

LayerNorm::LayerNorm(const std::string& name, std::int64_t num_channels, double epsilon)
    : weight_(scale_parameter(name + ".weight", num_channels)),
      bias_(bias_parameter(name + ".bias", num_channels)),
      epsilon_(epsilon) {}

Norm::Normed LayerNorm::normalize(const at::Tensor& rows) const {
  Normed normed{.output = at::empty_like(rows),
                .statistics = at::empty({rows.size(0), 2}, rows.options())};
  kernels::layer_norm({.input = rows,
                       .weight = weight_.value,
                       .bias = bias_.value,
                       .epsilon = epsilon_,
                       .output = normed.output,
                       .moments = normed.statistics});
  return normed;
}

Norm::Gradients LayerNorm::backward(Backward arguments) const {
  Gradients gradients{
      .input = std::move(arguments.grad_output),
      .parameters = at::empty({2, weight_.value.size(0)}, weight_.value.options()),
      .output = arguments.makes_output ? at::empty_like(arguments.rows) : at::Tensor()};
  kernels::layer_norm_backward(
      {.input = arguments.rows,
       .moments = arguments.statistics,
       .weight = weight_.value,
       .bias = bias_.value,
       .gradient = gradients.input,
       .residual = arguments.residual.defined() ? &arguments.residual : nullptr,
       .output = arguments.makes_output ? &gradients.output : nullptr,
       .grad_parameters = gradients.parameters});
  return gradients;
}

void LayerNorm::accumulate_gradients(const at::Tensor& parameters) {
  accumulate(parameters[0], weight_);
  accumulate(parameters[1], bias_);
}

}  // namespace halfback
