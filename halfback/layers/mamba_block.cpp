#include "halfback/layers/mamba_block.h"

#include "halfback/kernels/causal_convolution.h"
#include "halfback/kernels/selective_scan.h"
#include "halfback/layers/products.h"
#include "halfback/layers/shapes.h"
#include "halfback/layers/usual_parameters.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/mm.h>

#include <cmath>
#include <utility>

namespace halfback {

namespace {

// Slots of Saved::until_input.
enum { kInput, kStatistics, kBounds, kGatedInput, kProjectedInput };
// Slots of Saved::until_weight.
enum {
  kNormed,
  kGradInner,
  kConvolved,
  kProjected,
  kGradProjected,
  kGradStep,
  kGated,
  kGradOutput,
  kGradScan,
  kGradConvolution,
  kGradNorm
};

// Returns the initial values of torch's linear layers: within 1 / sqrt(inputs).
Init around_zero(std::int64_t num_inputs, double scale = 1.0) {
  return {.standard_deviation = scale / std::sqrt(3.0 * static_cast<double>(num_inputs)),
          .draw = Draw::Uniform};
}

// Returns rows [N x T, ...] as a view [N, T, ...], with the sizes of `input`.
at::Tensor as_sequences(const at::Tensor& rows, const at::Tensor& input) {
  return rows.unflatten(0, {input.size(0), input.size(1)});
}

}  // namespace

MambaBlock::MambaBlock(const std::string& prefix, const Options& options)
    : options_(options),
      norm_(prefix + ".norm", options.num_channels, options.epsilon),
      in_{.name = prefix + ".mixer.in_proj.weight",
          .shape = {2 * options.inner_channels, options.num_channels},
          .init = around_zero(options.num_channels)},
      taps_{.name = prefix + ".mixer.conv1d.weight",
            .shape = {options.inner_channels, 1, options.num_taps},
            .init = around_zero(options.num_taps)},
      taps_bias_(bias_parameter(prefix + ".mixer.conv1d.bias", options.inner_channels)),
      project_{.name = prefix + ".mixer.x_proj.weight",
               .shape = {projected_size(), options.inner_channels},
               .init = around_zero(options.inner_channels)},
      step_{.name = prefix + ".mixer.dt_proj.weight",
            .shape = {options.inner_channels, options.step_rank},
            .init = around_zero(options.step_rank)},
      step_bias_{.name = prefix + ".mixer.dt_proj.bias",
                 .shape = {options.inner_channels},
                 .init = {.draw = Draw::InverseSoftplus},
                 .decays = false},
      log_rate_{.name = prefix + ".mixer.A_log",
                .shape = {options.inner_channels, options.state_size},
                .init = {.draw = Draw::LogOfColumn},
                .decays = false},
      skip_(scale_parameter(prefix + ".mixer.D", options.inner_channels)),
      out_{.name = prefix + ".mixer.out_proj.weight",
           .shape = {options.num_channels, options.inner_channels},
           .init = around_zero(options.inner_channels, options.output_scale)} {}

std::vector<Parameter*> MambaBlock::parameters() {
  return {norm_.parameters().front(),
          &in_,
          &taps_,
          &taps_bias_,
          &project_,
          &step_,
          &step_bias_,
          &log_rate_,
          &skip_,
          &out_};
}

at::Tensor MambaBlock::taps() const { return taps_.value.squeeze(1).t().contiguous(); }

at::Tensor MambaBlock::rate() const { return log_rate_.value.exp().neg_(); }

at::Tensor MambaBlock::convolve(at::Tensor& inner) const {
  at::Tensor convolved = at::empty(inner.sizes(), inner.options());
  kernels::causal_convolution(
      {.input = inner, .output = convolved, .weight = taps(), .bias = taps_bias_.value});
  return convolved;
}

at::Tensor MambaBlock::raw_step(const at::Tensor& projected) const {
  return product(projected.narrow(1, 0, options_.step_rank), step_, step_bias_.value);
}

at::Tensor MambaBlock::forward(const at::Tensor& input, Saved& saved, const Call& /*call*/) {
  const at::Tensor x = as_rows(input);
  const Norm::Normed normed = norm_.normalize(x);
  const at::Tensor inner_gate = product(normed.output, in_);
  std::vector<at::Tensor> halves = as_sequences(inner_gate, input).chunk(2, -1);
  const at::Tensor convolved = convolve(halves[0]);
  const at::Tensor projected = product(as_rows(convolved), project_);
  at::Tensor step = as_sequences(raw_step(projected), input);
  at::Tensor bounds = at::empty({input.size(0), kernels::scan_bounds(input.size(1)),
                                 options_.state_size, options_.inner_channels},
                                x.options());
  const at::Tensor sequences = as_sequences(projected, input);
  const std::int64_t states = options_.state_size;
  kernels::selective_scan({.input = convolved,
                           .step = step,
                           .gate = halves[1],
                           .to_state = sequences.narrow(2, options_.step_rank, states),
                           .from_state = sequences.narrow(2, options_.step_rank + states, states),
                           .rate = rate(),
                           .skip = skip_.value,
                           .bounds = bounds});
  saved.until_input = {input, normed.statistics, bounds, inner_gate, projected};
  return product(as_rows(step), out_, x).view(input.sizes());
}

MambaBlock::ScanGradients MambaBlock::scan_backward(const at::Tensor& convolved,
                                                    at::Tensor& step,
                                                    at::Tensor& gated,
                                                    Saved& saved) const {
  const at::Tensor& input = saved.until_input[kInput];
  const at::Tensor& projected = saved.until_input[kProjectedInput];
  const std::int64_t rank = options_.step_rank;
  const std::int64_t states = options_.state_size;
  ScanGradients gradients{
      .projected = at::empty_like(projected),
      .input = at::empty_like(convolved),
      .parameters = at::empty({states + 2, options_.inner_channels}, projected.options())};
  const at::Tensor sequences = as_sequences(projected, input);
  at::Tensor gate = as_sequences(saved.until_input[kGatedInput], input).chunk(2, -1)[1];
  at::Tensor grad_states = as_sequences(gradients.projected, input).narrow(2, rank, 2 * states);
  const at::Tensor rates = rate();
  kernels::selective_scan_backward({.input = convolved,
                                    .step = step,
                                    .gate = gate,
                                    .to_state = sequences.narrow(2, rank, states),
                                    .from_state = sequences.narrow(2, rank + states, states),
                                    .rate = rates,
                                    .skip = skip_.value,
                                    .bounds = saved.until_input[kBounds]},
                                   {.gated = gated,
                                    .grad_input = gradients.input,
                                    .grad_states = grad_states,
                                    .grad_parameters = gradients.parameters});
  gradients.parameters.narrow(0, 0, states).mul_(rates.t());
  gradients.projected.narrow(1, 0, rank).copy_(product_backward_input(as_rows(step), step_));
  as_rows(gradients.input).add_(product_backward_input(gradients.projected, project_));
  return gradients;
}

at::Tensor MambaBlock::backward_input(const at::Tensor& grad_output,
                                      Saved& saved,
                                      const Call& /*call*/) {
  const at::Tensor input = saved.until_input[kInput];
  const at::Tensor g = as_rows(grad_output);
  const at::Tensor inner_gate = saved.until_input[kGatedInput];
  const at::Tensor projected = saved.until_input[kProjectedInput];
  at::Tensor inner = as_sequences(inner_gate, input).chunk(2, -1)[0];
  const at::Tensor convolved = convolve(inner);
  at::Tensor step = as_sequences(raw_step(projected), input);
  at::Tensor gated = as_sequences(product_backward_input(g, out_), input);
  ScanGradients scan = scan_backward(convolved, step, gated, saved);
  at::Tensor grad_convolution =
      at::empty({options_.num_taps + 1, options_.inner_channels}, g.options());
  kernels::causal_convolution_backward(
      {.input = inner, .output = scan.input, .weight = taps(), .bias = taps_bias_.value},
      grad_convolution);
  scan.input.reset();
  Norm::Gradients norm = norm_.backward({.rows = as_rows(input),
                                         .statistics = saved.until_input[kStatistics],
                                         .grad_output = product_backward_input(inner_gate, in_),
                                         .residual = g});
  saved.until_input.clear();
  saved.until_weight = {norm.output,    inner_gate, convolved, projected,       scan.projected,
                        step,           gated,      g,         scan.parameters, grad_convolution,
                        norm.parameters};
  return norm.input.view(grad_output.sizes());
}

void MambaBlock::backward_weight(std::span<Saved*> saved) {
  const std::int64_t states = options_.state_size;
  product_backward_weight(take_rows(saved, kGradOutput), take_rows(saved, kGated), out_);
  product_backward_weight(take_rows(saved, kGradStep),
                          take_rows(saved, kProjected).narrow(1, 0, options_.step_rank), step_);
  product_backward_weight(take_rows(saved, kGradProjected), take_rows(saved, kConvolved), project_);
  product_backward_weight(take_rows(saved, kGradInner), take_rows(saved, kNormed), in_);
  for (Saved* one : saved) {
    const at::Tensor& scan = one->until_weight[kGradScan];
    const at::Tensor& convolution = one->until_weight[kGradConvolution];
    accumulate(scan.narrow(0, 0, states).t(), log_rate_);
    accumulate(scan[states], skip_);
    accumulate(scan[states + 1], step_bias_);
    accumulate(convolution.narrow(0, 0, options_.num_taps).t().unsqueeze(1), taps_);
    accumulate(convolution[options_.num_taps], taps_bias_);
    norm_.accumulate_gradients(one->until_weight[kGradNorm]);
    one->until_weight.clear();
  }
}

SavedBytes MambaBlock::saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const {
  const std::int64_t channels = options_.num_channels;
  const std::int64_t inner = options_.inner_channels;
  const std::int64_t rows = numel(input_shape) / channels;
  const std::int64_t bounds = input_shape[0] * kernels::scan_bounds(input_shape[1]);
  const std::int64_t own = options_.state_size + 2 + options_.num_taps + 1;
  return {
      .until_input = (rows * (channels + 1) + bounds * options_.state_size * inner) * element_bytes,
      .until_weight = rows * (2 * inner + projected_size()) * element_bytes,
      .gradients = (rows * (2 * channels + 3 * inner + projected_size()) + own * inner + channels) *
                   element_bytes};
}

Flops MambaBlock::flops(const Shape& input_shape) const {
  return product_flops(numel(input_shape) / options_.num_channels,
                       {&in_, &project_, &step_, &out_});
}

}  // namespace halfback
