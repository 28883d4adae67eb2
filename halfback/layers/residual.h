// y = x + branch(x), where the branch is a sequence of layers that keeps the shape. Keeps nothing
// of its own.
//
// The sum overwrites the branch's output, so the branch's last layer must not keep it.
#pragma once

#include "halfback/layers/sequence.h"

namespace halfback {

class Residual final : public Sequence {
 public:
  using Sequence::Sequence;

  Tensors forward(Tensors inputs, Saved& saved, const Call& call) override;
  Tensors backward_input(Tensors grad_outputs, Saved& saved, const Call& call) override;
  Tensors backward(Tensors grad_outputs, Saved& saved, const Call& call) override;
};

}  // namespace halfback
