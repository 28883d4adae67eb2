// The losses "sim" and "predsim" of Nokland and Eidnes, "Training Neural Networks with Local Error
// Signals", ICML 2019, as in its authors' code: the mean squared error between two matrices of
// similarities, those of the samples after a linear map and those of their classes; by itself, or
// as 0.99 of a sum with a loss beside it, which has the rest.
//
//   z = the map of x; of images with several pixels, the standard deviation of each channel's
//       pixels (squares divided by their number less 1).
//   S(z) = R R^T, clamped to [-1, 1], where R is z with each row minus its own mean, divided by its
//          norm + 1e-8.
//   loss = N x the mean of (S(z) - S(one-hot targets))^2 over the N x N pairs of samples.
//
// The factor N makes it a sum over targets, as that of every loss. Samples are compared within
// their micro-batch, so the loss of a step depends on the size of its micro-batches. Samples with a
// target below 0 are left out of all pairs, and of N.
//
// With N samples, C channels after the map:
//   F  x [N, ...], targets [N] -> the loss; keeps until I: R [N, C], norms [N],
//      S(z) - S(targets) [N, N], and the map's output if that has several pixels.
//   I  grad_x. Pixels of one value and rows of one value pass no gradient: their deviations and
//      similarities have no derivative.
//   W  that of the map, and of the loss beside it.
#pragma once

#include "halfback/layers/layer.h"

#include <memory>
#include <vector>

namespace halfback {

// Another loss of the same input, if any.
struct LossBeside {
  std::unique_ptr<LossLayer> loss = {};
  bool keeps_input = false;  // until W: the same memory as the map's
};

class SimilarityLoss final : public LossLayer {
 public:
  SimilarityLoss(std::unique_ptr<Layer> map, std::int64_t num_classes, LossBeside beside = {});

  std::vector<Parameter*> parameters() override;
  double forward(const at::Tensor& input,
                 const at::Tensor& targets,
                 Saved& saved,
                 const Call& call) override;
  // Returns that of the loss beside it, or 0: similarities are not scores of classes.
  std::int64_t num_correct(const Saved& saved) const override;
  at::Tensor backward_input(double scale, Saved& saved, const Call& call) override;
  void backward_weight(std::span<Saved*> saved) override;
  SavedBytes saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const override;
  Flops flops(const Shape& input_shape) const override;

 private:
  std::unique_ptr<Layer> map_;
  std::int64_t num_classes_;
  LossBeside beside_;
  double weight_;
};

}  // namespace halfback
