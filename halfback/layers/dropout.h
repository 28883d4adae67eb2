// y = x / (1 - probability) for elements that the draw keeps, else 0; y = x in evaluation.
// Source: Srivastava et al., "Dropout", JMLR 15 (2014).
//
// The draw is a function of the micro-batch, the layer's site and the element, so that masks do not
// depend on the cut or the schedule. It keeps nothing: I draws the mask again.
#pragma once

#include "halfback/layers/layer.h"

namespace halfback {

struct DropoutOptions {
  double probability = 0.1;  // of dropping an element, 0 to below 1
  std::uint64_t site = 0;    // different for each dropout of a model
};

class Dropout final : public OneTensorLayer {
 public:
  explicit Dropout(const DropoutOptions& options);

  at::Tensor forward(const at::Tensor& input, Saved& saved, const Call& call) override;
  at::Tensor backward_input(const at::Tensor& grad_output, Saved& saved, const Call& call) override;
  SavedBytes saved_bytes(const Shape&, std::int64_t) const override { return {}; }

 private:
  at::Tensor masked(const at::Tensor& tensor, const Call& call) const;

  DropoutOptions options_;
};

}  // namespace halfback
