// The contrastive loss of SimCLR, NT-Xent: which of the other views of a micro-batch is the second
// view of the same image? No labels are read. Source: Chen et al., "A Simple Framework for
// Contrastive Learning of Visual Representations", ICML 2020; as a loss inside a model: Xiong, Ren,
// Urtasun, "LoCo: Local Contrastive Representation Learning", NeurIPS 2020.
//
// A micro-batch has 2n rows: the first views of n images, then their second views in the same
// order.
//
//   z = each row divided by its norm
//   loss = the sum over rows i of -log softmax(z_i z_j / temperature, over all j but i)[partner],
//          where the partner is the row of the same image
//
// Negatives are those of the micro-batch: the loss of a step depends on the size of its
// micro-batches. The sum is divided by the number of views of the step, as other losses are by that
// of their targets.
//
// With M = 2n rows, D channels:
//   F  x [M, D], targets [M], whose values do not matter -> the loss; keeps until I: z [M, D],
//      norms [M, 1], log-probabilities [M, M].
//   I  grad_x; turns the log-probabilities into the gradient of the logits in place.
//   W  nothing.
#pragma once

#include "halfback/layers/layer.h"

namespace halfback {

class ContrastiveLoss final : public LossLayer {
 public:
  explicit ContrastiveLoss(double temperature) : temperature_(temperature) {}

  double forward(const at::Tensor& input,
                 const at::Tensor& targets,
                 Saved& saved,
                 const Call& call) override;
  // Returns how many rows are nearer to their partner than to any other.
  std::int64_t num_correct(const Saved& saved) const override;
  at::Tensor backward_input(double scale, Saved& saved, const Call& call) override;
  void backward_weight(std::span<Saved*> /*saved*/) override {}
  SavedBytes saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const override;
  Flops flops(const Shape& input_shape) const override;

 private:
  double temperature_;
};

}  // namespace halfback
