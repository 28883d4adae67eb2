// y = max(main(x) + shortcut(x), 0), where both are lists of layers and an empty shortcut is x
// itself. Source: He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385.
//
//   F  keeps what the members keep, and one bit per element of y until I.
//   I  runs the members' I on the gradient that the ReLU let through, and adds the two branches.
//   W  runs the members' W, each branch from its end, the shortcut last.
//
// A shortcut with layers begins with a Convolution, as does main. Each keeps x, one tensor for
// both. Both end with a BatchNorm, which keeps no gradient.
#pragma once

#include "halfback/layers/sequence.h"

#include <memory>

namespace halfback {

class ResidualBlock : public OneTensorLayer {
 public:
  using Branch = std::vector<std::unique_ptr<Layer>>;
  ResidualBlock(Branch main, Branch shortcut);

  // Those of main, then those of the shortcut.
  std::vector<Parameter*> parameters() override;
  at::Tensor forward(const at::Tensor& input, Saved& saved, const Call& call) override;
  at::Tensor backward_input(const at::Tensor& grad_output, Saved& saved, const Call& call) override;
  void backward_weight(std::span<Saved*> saved) override;
  SavedBytes saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const override;
  Flops flops(const Shape& input_shape) const override;
  Shape output_shape(const Shape& input_shape) const override;

 private:
  Sequence main_;
  Sequence shortcut_;
};

}  // namespace halfback
