// The functions of rows.h with ATen's operators, for tensors on any device, with the same
// contracts. Results equal those of the loops up to rounding, random masks to the bit.
//
// On the CPU they are the slow reference of the loops. On other devices, each is a fixed sequence
// of operators, none of which adds in order of arrival, so equal inputs give equal bits there too.
#pragma once

#include "halfback/kernels/rows.h"

#include <span>
#include <vector>

namespace halfback::kernels::generic {

void rms_norm(const at::Tensor& input,
              const at::Tensor& weight,
              double epsilon,
              at::Tensor& output,
              at::Tensor& inverse_rms);
void rms_norm_backward(const RmsNormBackward& arguments);

void layer_norm(const LayerNorm& arguments);
void layer_norm_backward(const LayerNormBackward& arguments);

void dropout(const at::Tensor& input, const DropoutDraw& draw, at::Tensor& output);

void swiglu(const at::Tensor& gate_up, at::Tensor& activated);
void swiglu_backward(at::Tensor& gate_up, at::Tensor& activated);

void rotate_heads(at::Tensor& heads,
                  std::int64_t num_rotated,
                  const at::Tensor& cosine,
                  const at::Tensor& sine,
                  std::int64_t first_position);
void write_head_gradient(const HeadGradient& from, at::Tensor& heads);

void accumulate_rows(const at::Tensor& ids, const at::Tensor& grad_output, at::Tensor& gradient);

double log_softmax_loss(at::Tensor& logits, const at::Tensor& targets);
void log_softmax_loss_backward(at::Tensor& log_probabilities,
                               const at::Tensor& targets,
                               double scale);
std::int64_t count_correct(const at::Tensor& scores, const at::Tensor& targets);

std::vector<double> sums_of_squares(std::span<const at::Tensor> tensors);

}  // namespace halfback::kernels::generic
