// Layers one after the other, as one layer.
#pragma once

#include "halfback/layers/layer.h"

#include <memory>
#include <vector>

namespace halfback {

class Sequence : public Layer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<Layer>> layers);

  std::vector<Parameter*> parameters() override;
  std::vector<at::Tensor*> constants() override;
  at::Tensor forward(const at::Tensor& input, Saved& saved) override;
  at::Tensor backward_input(const at::Tensor& grad_output, Saved& saved) override;
  Tensors forward_all(Tensors inputs, Saved& saved) override;
  Tensors backward_input_all(Tensors grad_outputs, Saved& saved) override;
  Tensors backward_all(Tensors grad_outputs, Saved& saved) override;
  void backward_weight(Saved& saved) override;
  void backward_weight_concatenated(std::span<Saved*> saved) override;
  SavedBytes saved_bytes(std::span<const std::int64_t> input_shape,
                         std::int64_t element_bytes) const override;
  std::vector<std::int64_t> output_shape(std::span<const std::int64_t> input_shape) const override;

 private:
  std::vector<std::unique_ptr<Layer>> layers_;
};

}  // namespace halfback
