// Layers and a loss after them, as one loss: the form of a local head. It may stand in place of
// another loss, whose parameters it then holds in front of its own: they belong to the model, so
// checkpoints have them, but no gradient and no decay changes them.
#pragma once

#include "halfback/layers/sequence.h"

#include <memory>
#include <vector>

namespace halfback {

class LayeredLoss final : public LossLayer {
 public:
  LayeredLoss(std::vector<std::unique_ptr<Layer>> layers,
              std::unique_ptr<LossLayer> loss,
              std::unique_ptr<LossLayer> replaced = {});

  std::vector<Parameter*> parameters() override;
  double forward(const at::Tensor& input,
                 const at::Tensor& targets,
                 Saved& saved,
                 const Call& call) override;
  std::int64_t num_correct(const Saved& saved) const override;
  at::Tensor backward_input(double scale, Saved& saved, const Call& call) override;
  void backward_weight(std::span<Saved*> saved) override;
  SavedBytes saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const override;
  Flops flops(const Shape& input_shape) const override;

 private:
  Sequence layers_;
  std::unique_ptr<LossLayer> loss_;
  std::unique_ptr<LossLayer> replaced_;  // null if it stands in place of none
};

}  // namespace halfback
