#include "halfback/layers/rms_norm.h"

#include "halfback/layers/kernels.h"
#include "halfback/layers/products.h"
#include "halfback/layers/shapes.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <utility>

namespace halfback {

RmsNorm::RmsNorm(const std::string& name, std::int64_t num_channels, double epsilon)
    : weight_{.name = name + ".weight",
              .shape = {num_channels},
              .init = {.mean = 1.0},
              .decays = false},
      epsilon_(epsilon) {}

RmsNorm::Normed RmsNorm::normalize(const at::Tensor& rows) const {
  Normed normed{.output = at::empty_like(rows),
                .inverse_rms = at::empty({rows.size(0)}, rows.options())};
  kernels::rms_norm(rows, weight_.value, epsilon_, normed.output, normed.inverse_rms);
  return normed;
}

RmsNorm::Gradients RmsNorm::backward(const at::Tensor& rows,
                                     const at::Tensor& inverse_rms,
                                     at::Tensor grad_output,
                                     const at::Tensor& residual) const {
  Gradients gradients{.input = std::move(grad_output),
                      .weight = at::empty_like(weight_.value),
                      .output = at::empty_like(rows)};
  kernels::rms_norm_backward({.input = rows,
                              .inverse_rms = inverse_rms,
                              .weight = weight_.value,
                              .gradient = gradients.input,
                              .residual = residual.defined() ? &residual : nullptr,
                              .output = &gradients.output,
                              .grad_weight = gradients.weight});
  return gradients;
}

at::Tensor RmsNorm::forward(const at::Tensor& input, Saved& saved) {
  Normed normed = normalize(as_rows(input));
  saved.until_input = {input, normed.inverse_rms};
  return normed.output.view(input.sizes());
}

at::Tensor RmsNorm::backward_input(const at::Tensor& grad_output, Saved& saved) {
  const at::Tensor input = saved.until_input[0];
  at::Tensor gradient = grad_output.clone();
  at::Tensor grad_weight = at::empty_like(weight_.value);
  kernels::rms_norm_backward({.input = input,
                              .inverse_rms = saved.until_input[1],
                              .weight = weight_.value,
                              .gradient = gradient,
                              .residual = nullptr,
                              .output = nullptr,
                              .grad_weight = grad_weight});
  saved.until_input.clear();
  saved.until_weight = {grad_weight};
  return gradient;
}

void RmsNorm::backward_weight(Saved& saved) {
  accumulate(saved.until_weight[0], weight_);
  saved.until_weight.clear();
}

SavedBytes RmsNorm::saved_bytes(std::span<const std::int64_t> input_shape,
                                std::int64_t element_bytes) const {
  const std::int64_t elements = numel(input_shape);
  return {.until_input = (elements + elements / input_shape.back()) * element_bytes,
          .gradients = input_shape.back() * element_bytes};
}

std::vector<std::int64_t> RmsNorm::output_shape(std::span<const std::int64_t> input_shape) const {
  return {input_shape.begin(), input_shape.end()};
}

}  // namespace halfback
