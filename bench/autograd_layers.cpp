#include "bench/autograd_layers.h"

#include "halfback/kernels/selective_scan.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv1d.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>
#include <torch/csrc/autograd/custom_function.h>

namespace halfback::bench {

namespace {

constexpr double kEpsilon = 1e-5;

at::Tensor norm(const at::Tensor& x, const at::Tensor& weight) {
  return at::rms_norm(x, x.sizes().slice(x.dim() - 1), weight, kEpsilon);
}

// These parameters begin at `first`, each weight before its bias.
at::Tensor layer_norm(const Values& values, std::size_t first, const at::Tensor& x) {
  return at::layer_norm(x, x.sizes().slice(x.dim() - 1), values[first], values[first + 1],
                        kEpsilon);
}

at::Tensor self_attention(const Values& values,
                          std::size_t first,
                          const at::Tensor& x,
                          std::int64_t heads,
                          bool is_causal) {
  const std::vector<at::Tensor> packed = at::linear(x, values[first], values[first + 1])
                                             .view({x.size(0), x.size(1), 3 * heads, -1})
                                             .transpose(1, 2)
                                             .chunk(3, 1);
  const at::Tensor attended = at::scaled_dot_product_attention(
      packed[0], packed[1], packed[2], /*attn_mask=*/{}, /*dropout_p=*/0.0, is_causal);
  return at::linear(attended.transpose(1, 2).reshape(x.sizes()), values[first + 2],
                    values[first + 3]);
}

at::Tensor gelu_feed_forward(const Values& values, std::size_t first, const at::Tensor& x) {
  const at::Tensor inner = at::gelu(at::linear(x, values[first], values[first + 1]));
  return at::linear(inner, values[first + 2], values[first + 3]);
}

at::Tensor rotate(const at::Tensor& heads, const Rotation& rotation) {
  const std::vector<at::Tensor> halves = heads.chunk(2, -1);
  return heads * rotation.cosine + at::cat({-halves[1], halves[0]}, -1) * rotation.sine;
}

// Inputs: input, step, gate [N, T, E], states [N, T, 2 S], rate [E, S], skip [E].
struct ScanFunction : torch::autograd::Function<ScanFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* context,
                            const at::Tensor& input,
                            const at::Tensor& step,
                            const at::Tensor& gate,
                            const at::Tensor& states,
                            const at::Tensor& rate,
                            const at::Tensor& skip) {
    const std::int64_t size = rate.size(1);
    at::Tensor gated = step.clone();
    at::Tensor read_gate = gate;
    at::Tensor bounds = at::empty(
        {input.size(0), kernels::scan_bounds(input.size(1)), size, rate.size(0)}, rate.options());
    kernels::selective_scan({.input = input,
                             .step = gated,
                             .gate = read_gate,
                             .to_state = states.narrow(2, 0, size),
                             .from_state = states.narrow(2, size, size),
                             .rate = rate,
                             .skip = skip,
                             .bounds = bounds});
    context->save_for_backward({input, step, gate, states, rate, skip, bounds});
    return gated;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const torch::autograd::variable_list saved = context->get_saved_variables();
    const at::Tensor& states = saved[3];
    const std::int64_t size = saved[4].size(1);
    at::Tensor step = saved[1].clone();
    at::Tensor gate = saved[2].clone();
    at::Tensor bounds = saved[6];
    at::Tensor gated = gradients[0].clone();
    at::Tensor grad_input = at::empty_like(saved[0]);
    at::Tensor grad_states = at::empty_like(states);
    at::Tensor parameters = at::empty({size + 2, saved[5].size(0)}, states.options());
    kernels::selective_scan_backward({.input = saved[0],
                                      .step = step,
                                      .gate = gate,
                                      .to_state = states.narrow(2, 0, size),
                                      .from_state = states.narrow(2, size, size),
                                      .rate = saved[4],
                                      .skip = saved[5],
                                      .bounds = bounds},
                                     {.gated = gated,
                                      .grad_input = grad_input,
                                      .grad_states = grad_states,
                                      .grad_parameters = parameters});
    return {grad_input,      step, gate, grad_states, parameters.narrow(0, 0, size).t(),
            parameters[size]};
  }
};

}  // namespace

at::Tensor autograd_linear(const Values& values, const at::Tensor& x) {
  return at::linear(x, values[0]);
}

at::Tensor autograd_norm(const Values& values, const at::Tensor& x) { return norm(x, values[0]); }

at::Tensor autograd_embedding(const Values& values, const at::Tensor& ids) {
  return at::embedding(values[0], ids);
}

at::Tensor autograd_feed_forward(const Values& values, const at::Tensor& x) {
  const std::vector<at::Tensor> gate_up = at::linear(norm(x, values[0]), values[1]).chunk(2, -1);
  return x + at::linear(at::silu(gate_up[0]) * gate_up[1], values[2]);
}

at::Tensor autograd_attention(const Values& values, const at::Tensor& x, const Rotation& rotation) {
  const std::int64_t head_size = rotation.cosine.size(1);
  const at::Tensor packed = at::linear(norm(x, values[0]), values[1]);
  const std::vector<at::Tensor> heads =
      packed.view({x.size(0), x.size(1), -1, head_size}).transpose(1, 2).chunk(3, 1);
  const at::Tensor attended = at::scaled_dot_product_attention(rotate(heads[0], rotation),
                                                               rotate(heads[1], rotation), heads[2],
                                                               /*attn_mask=*/{},
                                                               /*dropout_p=*/0.0,
                                                               /*is_causal=*/true);
  return x + at::linear(attended.transpose(1, 2).reshape(x.sizes()), values[2]);
}

at::Tensor autograd_mamba(const Values& values, const at::Tensor& x) {
  const at::Tensor& taps = values[2];
  const std::int64_t rank = values[5].size(1);
  const std::int64_t states = 2 * values[7].size(1);
  const std::vector<at::Tensor> halves = at::linear(norm(x, values[0]), values[1]).chunk(2, -1);
  const at::Tensor padded = at::constant_pad_nd(halves[0].transpose(1, 2), {taps.size(2) - 1, 0});
  const at::Tensor sums =
      at::conv1d(padded, taps, values[3], /*stride=*/{1},
                 /*padding=*/at::IntArrayRef{0}, /*dilation=*/{1}, taps.size(0));
  const at::Tensor input = at::silu(sums).transpose(1, 2).contiguous();
  const at::Tensor projected = at::linear(input, values[4]);
  const at::Tensor step = at::linear(projected.narrow(2, 0, rank), values[5], values[6]);
  const at::Tensor gated = ScanFunction::apply(
      input, step, halves[1], projected.narrow(2, rank, states), -at::exp(values[7]), values[8]);
  return x + at::linear(gated, values[9]);
}

at::Tensor autograd_block(const Values& values, const at::Tensor& x, std::int64_t heads) {
  const at::Tensor y = x + self_attention(values, 2, layer_norm(values, 0, x), heads, true);
  return y + gelu_feed_forward(values, 8, layer_norm(values, 6, y));
}

at::Tensor autograd_bert_block(const Values& values, const at::Tensor& x, std::int64_t heads) {
  const at::Tensor y = layer_norm(values, 4, x + self_attention(values, 0, x, heads, false));
  return layer_norm(values, 10, y + gelu_feed_forward(values, 6, y));
}

at::Tensor autograd_bottleneck(const Values& values, const at::Tensor& x) {
  const auto step = [&](std::size_t first, const at::Tensor& input) {
    const at::Tensor& weight = values[first];
    const at::Tensor sums = at::conv2d(input, weight, /*bias=*/{}, /*stride=*/1,
                                       /*padding=*/at::IntArrayRef{weight.size(2) / 2});
    return at::batch_norm(sums, values[first + 1], values[first + 2], /*running_mean=*/{},
                          /*running_var=*/{}, /*training=*/true, /*momentum=*/0.1, kEpsilon,
                          /*cudnn_enabled=*/false);
  };
  return at::relu(x + step(6, at::relu(step(3, at::relu(step(0, x))))));
}

at::Tensor autograd_head(const Values& values, const at::Tensor& x, const at::Tensor& targets) {
  const at::Tensor logits = at::linear(norm(x, values[0]), values[1]);
  return at::cross_entropy_loss(logits.flatten(0, 1), targets.flatten(), {}, at::Reduction::Sum);
}

}  // namespace halfback::bench
