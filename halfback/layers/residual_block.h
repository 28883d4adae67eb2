// y = max(main(x) + shortcut(x), 0), where both are lists of layers and an empty shortcut is x
// itself. Source: He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385.
//
//   F  what the members keep, and one bit an element of y until I.
//   I  the members' I, from the gradient that the ReLU let through; the two branches add up.
//   W  the members' W, each branch from its end, the shortcut last.
//
// A shortcut with layers begins, as main does, with a Convolution, which keeps x: that is one
// tensor for both. Both end with a BatchNorm, which keeps no gradient.
#pragma once

#include "halfback/layers/layer.h"

#include <memory>

namespace halfback {

class ResidualBlock : public Layer {
 public:
  using Branch = std::vector<std::unique_ptr<Layer>>;
  ResidualBlock(Branch main, Branch shortcut);

  // Those of main, then those of the shortcut.
  std::vector<Parameter*> parameters() override;
  at::Tensor forward(const at::Tensor& input, Saved& saved) override;
  at::Tensor backward_input(const at::Tensor& grad_output, Saved& saved) override;
  void backward_weight(Saved& saved) override;
  void backward_weight_concatenated(std::span<Saved*> saved) override;
  SavedBytes saved_bytes(std::span<const std::int64_t> input_shape,
                         std::int64_t element_bytes) const override;
  std::vector<std::int64_t> output_shape(std::span<const std::int64_t> input_shape) const override;

 private:
  // `members` are those of the branch, one for each layer.
  static at::Tensor forward_branch(const Branch& branch,
                                   const at::Tensor& input,
                                   std::span<Saved> members);
  static at::Tensor backward_branch(const Branch& branch,
                                    const at::Tensor& grad_output,
                                    std::span<Saved> members);

  Branch main_;
  Branch shortcut_;
};

}  // namespace halfback
