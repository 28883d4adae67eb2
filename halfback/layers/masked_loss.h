// A loss over the positions that have a target, by a loss that reads their rows alone: the form of
// every head where only masked words are predicted.
//
// With N samples of T positions, of which R have a target (0 or more), C channels:
//   F  x [N, T, C], targets [N, T] -> the loss of x [R, C], targets [R]; keeps until I: their
//      numbers and targets, 2 R of int64.
//   I  grad_x [N, T, C], 0 where there is no target.
//   W  that of the loss.
#pragma once

#include "halfback/layers/layer.h"

#include <memory>

namespace halfback {

class MaskedLoss final : public LossLayer {
 public:
  // `targets_per_sample` is for saved_bytes().
  MaskedLoss(std::unique_ptr<LossLayer> loss, std::int64_t targets_per_sample)
      : loss_(std::move(loss)), targets_per_sample_(targets_per_sample) {}

  std::vector<Parameter*> parameters() override { return loss_->parameters(); }
  double forward(const at::Tensor& input,
                 const at::Tensor& targets,
                 Saved& saved,
                 const Call& call) override;
  std::int64_t num_correct(const Saved& saved) const override;
  at::Tensor backward_input(double scale, Saved& saved, const Call& call) override;
  void backward_weight(std::span<Saved*> saved) override;
  SavedBytes saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const override;
  Flops flops(const Shape& input_shape) const override;
  Parameter* output_matrix() override { return loss_->output_matrix(); }

  const LossLayer& loss() const { return *loss_; }

 private:
  std::unique_ptr<LossLayer> loss_;
  std::int64_t targets_per_sample_;
};

}  // namespace halfback
