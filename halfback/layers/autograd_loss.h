// Any function of libtorch that autograd can differentiate, as the loss at the end of a model.
#pragma once

#include "halfback/layers/autograd_graph.h"
#include "halfback/layers/layer.h"

#include <cstdint>
#include <functional>
#include <string>

namespace halfback {

struct ForeignLoss {
  std::string name;  // for messages
  // Takes the outputs of the model and the targets, of any type. Returns a tensor with one element:
  // the loss summed over the targets. MicroBatch::count says how many these are.
  std::function<at::Tensor(const at::Tensor& outputs, const at::Tensor& targets, const Call&)>
      forward;
  // Returns how many targets had the highest score. Without it, none.
  std::function<std::int64_t(const at::Tensor& outputs, const at::Tensor& targets)> num_correct =
      {};
};

// The function has no parameters that train. Its bytes are not counted.
class AutogradLoss final : public LossLayer {
 public:
  explicit AutogradLoss(ForeignLoss loss);

  // Throws ConfigError for a function that does not return one number with a gradient.
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
  ForeignLoss loss_;
  GraphLeaves leaves_;
};

}  // namespace halfback
