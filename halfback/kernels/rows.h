// Fused loops over the rows of a matrix, one pass over memory each.
//
// ATen has no single operator for most of them. It has layer norm and dropout, but it sums the
// gradient of a norm's weight per thread, so its bits depend on the number of threads; its dropout
// keeps a mask; and no operator recomputes the forward's output in the pass of the backward. All
// work on contiguous float or double tensors of M rows, split among ATen's threads. Sums over rows
// run in fixed blocks of rows. Tensors that are not on the CPU go through generic_rows.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace halfback::kernels {

// y = x / sqrt(mean(x^2) + eps) * weight. Writes output [M, C] and inverse_rms [M].
void rms_norm(const at::Tensor& input,
              const at::Tensor& weight,
              double epsilon,
              at::Tensor& output,
              at::Tensor& inverse_rms);

// What the backward of an RMSNorm reads and writes; all but inverse_rms, weight and grad_weight
// are [M, C].
struct RmsNormBackward {
  const at::Tensor& input;
  const at::Tensor& inverse_rms;
  const at::Tensor& weight;
  at::Tensor& gradient;        // in: that of the output; out: that of the input
  const at::Tensor* residual;  // added to the outgoing gradient if given
  at::Tensor* output;          // the forward's output, recomputed if given
  at::Tensor& grad_weight;     // [C], overwritten
};
void rms_norm_backward(const RmsNormBackward& arguments);

// y = (x - mean) / sqrt(variance + eps) * weight + bias over the last dimension. Writes output
// [M, C] and moments [M, 2], the mean and the inverse deviation of each row.
struct LayerNorm {
  const at::Tensor& input;
  const at::Tensor& weight;
  const at::Tensor& bias;
  double epsilon;
  at::Tensor& output;
  at::Tensor& moments;
};
void layer_norm(const LayerNorm& arguments);

// As RmsNormBackward; overwrites grad_parameters [2, C] with the gradients of weight and bias.
struct LayerNormBackward {
  const at::Tensor& input;
  const at::Tensor& moments;
  const at::Tensor& weight;
  const at::Tensor& bias;
  at::Tensor& gradient;
  const at::Tensor* residual;
  at::Tensor* output;
  at::Tensor& grad_parameters;
};
void layer_norm_backward(const LayerNormBackward& arguments);

// output = input x keep / (1 - probability): each element is dropped or kept by a draw that is a
// function of the key and of its index.
struct DropoutDraw {
  std::uint64_t key = 0;
  double probability = 0.0;  // of dropping, 0 to below 1
};
// Draws of 32 bits below this drop.
std::uint32_t drop_threshold(const DropoutDraw& draw);
void dropout(const at::Tensor& input, const DropoutDraw& draw, at::Tensor& output);

// activated[M, F] = silu(gate) * up, where gate_up is [M, 2F] = (gate, up).
void swiglu(const at::Tensor& gate_up, at::Tensor& activated);

// gate_up: in: (gate, up); out: their gradients. activated: in: the gradient of the output; out:
// the forward's output, which the weight gradient of the next product needs.
void swiglu_backward(at::Tensor& gate_up, at::Tensor& activated);

// Rotates heads [0, num_rotated) of heads [N, T, all heads, D] in place: element i of the first
// half pairs with element i of the second. cosine, sine are [T', D/2] with T' >= first + T;
// `first_position` is the position of the first row of each sequence.
void rotate_heads(at::Tensor& heads,
                  std::int64_t num_rotated,
                  const at::Tensor& cosine,
                  const at::Tensor& sine,
                  std::int64_t first_position);

// Writes the gradient [N, heads, T, D] (any strides, last dimension dense) to heads [N, T, all
// heads, D] from head `first_head` on. Rotates it backward if cosine is given.
struct HeadGradient {
  const at::Tensor& gradient;
  std::int64_t first_head = 0;
  const at::Tensor* cosine = nullptr;
  const at::Tensor* sine = nullptr;
};
void write_head_gradient(const HeadGradient& from, at::Tensor& heads);

// gradient[ids[m], :] += grad_output[m, :] for m ascending. gradient is [V, C].
void accumulate_rows(const at::Tensor& ids, const at::Tensor& grad_output, at::Tensor& gradient);

// Turns logits [M, V] into log-probabilities in place; returns -sum of those at targets [M].
double log_softmax_loss(at::Tensor& logits, const at::Tensor& targets);

// Turns log-probabilities [M, V] into scale x (probability - one at the target) in place.
void log_softmax_loss_backward(at::Tensor& log_probabilities,
                               const at::Tensor& targets,
                               double scale);

// Returns the number of rows of [M, V] in which the target [M] has the highest score; the first of
// equal ones wins.
std::int64_t count_correct(const at::Tensor& scores, const at::Tensor& targets);

// Returns the sum of squares in double, in a fixed order.
double sum_of_squares(const at::Tensor& values);
// The same for several tensors on one device, with a single wait for it.
std::vector<double> sums_of_squares(std::span<const at::Tensor> tensors);

}  // namespace halfback::kernels
