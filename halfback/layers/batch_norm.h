// y = (x - mean) / sqrt(variance + epsilon) * weight + bias, channel by channel, with mean and
// variance over the images and pixels of this micro-batch; then max(y, 0) if it has a ReLU.
// Source: Ioffe and Szegedy, "Batch Normalization", arXiv:1502.03167.
//
// With N images, C channels, M values of a channel:
//   F  x [N, C, ...] -> y; keeps x until I, and mean and variance (2 C numbers) until W.
//   I  reads x and g for the gradient of x and for this micro-batch's gradients of weight and bias,
//      2 C numbers that wait for W. It recomputes from x what the ReLU let through, without a mask.
//   W  adds those and updates the running statistics: r += 0.1 (this micro-batch's - r), with the
//      variance divided by M - 1. Only W updates them, so that they change once per micro-batch, in
//      order, however often F runs.
//
// In evaluation it uses the running statistics instead of the micro-batch's.
#pragma once

#include "halfback/layers/layer.h"

namespace halfback {

class BatchNorm : public OneTensorLayer {
 public:
  struct Options {
    std::int64_t num_channels = 0;
    bool has_relu = false;
    double epsilon = 1e-5;
    double momentum = 0.1;  // of the running statistics
  };
  BatchNorm(const std::string& name, const Options& options);

  // Weight and bias, then the running_mean, running_var and num_batches_tracked, which do not
  // train.
  std::vector<Parameter*> parameters() override;
  // Throws ConfigError in training if a channel has only one value, and so no variance.
  at::Tensor forward(const at::Tensor& input, Saved& saved, const Call& call) override;
  at::Tensor backward_input(const at::Tensor& grad_output, Saved& saved, const Call& call) override;
  void backward_weight(std::span<Saved*> saved) override;
  SavedBytes saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const override;

 private:
  // Applies the formula with these statistics, [C] each.
  at::Tensor normalize(const at::Tensor& input,
                       const at::Tensor& mean,
                       const at::Tensor& variance) const;
  // Moves the running statistics toward those of a micro-batch, [2, C].
  void move_statistics(const at::Tensor& found);

  Options options_;
  Parameter weight_;
  Parameter bias_;
  Parameter running_mean_;
  Parameter running_variance_;
  Parameter num_batches_;
};

}  // namespace halfback
