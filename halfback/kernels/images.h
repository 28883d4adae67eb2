// Loops over images [N, C, H, W] (H x W pixels, any number of spatial dimensions): batch norm, ReLU
// and pooling. They keep few bytes: masks of one bit, places of one byte.
//
// Contiguous float or double tensors. Every sum has one order, for any number of threads. Tensors
// that are not on the CPU go through generic_images.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace halfback::kernels {

// A batch norm and the statistics that it uses. y = (x - mean) / sqrt(variance + epsilon) * weight
// + bias, channel by channel, then max(y, 0) with a ReLU.
struct BatchNormTerms {
  const at::Tensor& mean;      // [C]
  const at::Tensor& variance;  // [C]
  const at::Tensor& weight;    // [C]
  const at::Tensor& bias;      // [C]
  double epsilon = 0.0;
  bool has_relu = false;
};

// Writes mean and variance (divided by the number of values) of each channel, [C] each.
void channel_statistics(const at::Tensor& input, at::Tensor& mean, at::Tensor& variance);

void batch_norm(const BatchNormTerms& terms, const at::Tensor& input, at::Tensor& output);

// The backward if the mean and the variance are those of `input` itself. Writes the last three.
struct BatchNormBackward {
  const at::Tensor& input;
  const at::Tensor& grad_output;
  at::Tensor& grad_input;
  at::Tensor& grad_weight;  // [C]
  at::Tensor& grad_bias;    // [C]
};
void batch_norm_backward(const BatchNormTerms& terms, const BatchNormBackward& arguments);

// output = max(input + added, 0), where `added` may be undefined. The mask has one bit per element,
// set if it got through, in bytes [mask_bytes(elements)].
void relu(const at::Tensor& input, const at::Tensor& added, at::Tensor& output, at::Tensor& mask);
void relu_backward(const at::Tensor& grad_output, const at::Tensor& mask, at::Tensor& grad_input);
constexpr std::int64_t mask_bytes(std::int64_t num_elements) { return (num_elements + 7) / 8; }

// A square window that moves by `stride`, over `padding` rows and columns that never win.
struct PoolWindow {
  std::int64_t size = 1;  // up to 16
  std::int64_t stride = 1;
  std::int64_t padding = 0;  // at most half of size
};

// Writes the largest value of each window and its place in the window as one byte. The first of
// equal values wins; NaN wins over all.
void max_pool(const PoolWindow& window,
              const at::Tensor& input,
              at::Tensor& output,
              at::Tensor& places);
// Overlapping windows add up.
void max_pool_backward(const PoolWindow& window,
                       const at::Tensor& grad_output,
                       const at::Tensor& places,
                       at::Tensor& grad_input);

// Writes the mean [N, C] of each channel of each image.
void mean_of_pixels(const at::Tensor& input, at::Tensor& output);

}  // namespace halfback::kernels
