// y = max(x, 0), element by element.
//
//   F  keeps one bit per element until I: whether it passed. It keeps neither x nor y, so that it
//      does not matter which other layers keep those.
//   I  passes g where the bit is set.
//   W  nothing.
#pragma once

#include "halfback/layers/layer.h"

namespace halfback {

class Relu : public OneTensorLayer {
 public:
  at::Tensor forward(const at::Tensor& input, Saved& saved, const Call& call) override;
  at::Tensor backward_input(const at::Tensor& grad_output, Saved& saved, const Call& call) override;
  SavedBytes saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const override;

  // For layers that end with a ReLU: returns max(x + added, 0) and its bits; `added` may be
  // undefined.
  struct Passed {
    at::Tensor output;
    at::Tensor mask;
  };
  static Passed apply(const at::Tensor& input, const at::Tensor& added);
  static at::Tensor backward(const at::Tensor& grad_output, const at::Tensor& mask);
};

}  // namespace halfback
