// y = f(x), element by element, for a smooth f: GELU, x times the normal distribution up to x
// (exact), or SiLU, x times the logistic function of x.
// Sources: Hendrycks and Gimpel, "Gaussian Error Linear Units", arXiv:1606.08415; Elfwing, Uchibe,
// Doya, "Sigmoid-Weighted Linear Units", arXiv:1702.03118.
//
//   F  keeps x until I. (A ReLU keeps a bit an element: relu.h.)
//   I  g f'(x).
//   W  nothing.
#pragma once

#include "halfback/layers/layer.h"

namespace halfback {

class Activation final : public OneTensorLayer {
 public:
  enum class Function { Gelu, Silu };
  explicit Activation(Function function) : function_(function) {}

  at::Tensor forward(const at::Tensor& input, Saved& saved, const Call& call) override;
  at::Tensor backward_input(const at::Tensor& grad_output, Saved& saved, const Call& call) override;
  SavedBytes saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const override;

 private:
  Function function_;
};

}  // namespace halfback
