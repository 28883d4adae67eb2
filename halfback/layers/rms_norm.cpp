#include "halfback/layers/rms_norm.h"

#include "halfback/kernels/rows.h"
#include "halfback/layers/products.h"
#include "halfback/layers/usual_parameters.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <utility>

namespace halfback {

RmsNorm::RmsNorm(const std::string& name, std::int64_t num_channels, double epsilon)
    : weight_(scale_parameter(name + ".weight", num_channels)), epsilon_(epsilon) {}

Norm::Normed RmsNorm::normalize(const at::Tensor& rows) const {
  Normed normed{.output = at::empty_like(rows),
                .statistics = at::empty({rows.size(0)}, rows.options())};
  kernels::rms_norm(rows, weight_.value, epsilon_, normed.output, normed.statistics);
  return normed;
}

Norm::Gradients RmsNorm::backward(Backward arguments) const {
  Gradients gradients{
      .input = std::move(arguments.grad_output),
      .parameters = at::empty_like(weight_.value),
      .output = arguments.makes_output ? at::empty_like(arguments.rows) : at::Tensor()};
  kernels::rms_norm_backward(
      {.input = arguments.rows,
       .inverse_rms = arguments.statistics,
       .weight = weight_.value,
       .gradient = gradients.input,
       .residual = arguments.residual.defined() ? &arguments.residual : nullptr,
       .output = arguments.makes_output ? &gradients.output : nullptr,
       .grad_weight = gradients.parameters});
  return gradients;
}

void RmsNorm::accumulate_gradients(const at::Tensor& parameters) {
  accumulate(parameters, weight_);
}

}  // namespace halfback
