// y = x + branch(x), where the branch is layers one after the other and keeps the shape. Keeps
// nothing of its own.
//
// The sum is made in the memory of the branch's output, so its last layer must not keep that.
#pragma once

#include "halfback/layers/sequence.h"

namespace halfback {

class Residual final : public Sequence {
 public:
  using Sequence::Sequence;

  Tensors forward_all(Tensors inputs, Saved& saved) override;
  Tensors backward_input_all(Tensors grad_outputs, Saved& saved) override;
  Tensors backward_all(Tensors grad_outputs, Saved& saved) override;
};

}  // namespace halfback
