// Layers one after the other, as one layer.
#pragma once

#include "halfback/layers/layer.h"

#include <memory>
#include <span>
#include <vector>

namespace halfback {

// Describes layers that follow each other as one.
Described describe_in_turn(std::span<const std::unique_ptr<Layer>> layers,
                           std::vector<Shape> shapes,
                           std::int64_t element_bytes);

class Sequence : public Layer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<Layer>> layers);

  std::vector<Parameter*> parameters() override;
  std::vector<at::Tensor*> buffers() override;
  Tensors forward(Tensors inputs, Saved& saved, const Call& call) override;
  Tensors backward_input(Tensors grad_outputs, Saved& saved, const Call& call) override;
  Tensors backward(Tensors grad_outputs, Saved& saved, const Call& call) override;
  void backward_weight(std::span<Saved*> saved) override;
  Described describe(std::vector<Shape> shapes, std::int64_t element_bytes) const override;

  bool is_empty() const { return layers_.empty(); }

 private:
  std::vector<std::unique_ptr<Layer>> layers_;
};

}  // namespace halfback
