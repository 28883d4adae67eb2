// The one order in which partial sums of gradients are added, so that bits do not depend on who
// holds which part: pairwise and bottom-up, ((0 + 1) + (2 + 3)) + ((4 + 5) + ...). Parts that stand
// together in a block of a power of two are so a sum of their own, wherever they were added up.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace halfback {

class PairwiseSum {
 public:
  // Adds the next tensor, into which sums may go. Tensors that are needed no more are appended to
  // `freed`.
  void add(at::Tensor term, std::vector<at::Tensor>* freed = nullptr);

  // Returns the sum, which lies in the tensor that was added last, and begins anew.
  at::Tensor finish(std::vector<at::Tensor>* freed = nullptr);

 private:
  struct Part {
    int level = 0;  // of 2^level tensors
    at::Tensor sum;
  };
  // Adds the last part to `sum`.
  void take_part(at::Tensor& sum, std::vector<at::Tensor>* freed);

  std::vector<Part> parts_;
};

// Returns the sum of these, which lies in one of them.
at::Tensor pairwise_sum(const std::vector<at::Tensor>& terms);

}  // namespace halfback
