// The order in which all partial sums of gradients are added, so that bits do not depend on who
// holds which part: pairwise and bottom-up, ((0 + 1) + (2 + 3)) + ((4 + 5) + ...). So an aligned
// block of 2^k parts is a sum by itself, wherever it was added up.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace halfback {

class PairwiseSum {
 public:
  // Adds the next tensor; sums may be written into it. Appends tensors that are no longer needed to
  // `freed`.
  void add(at::Tensor term, std::vector<at::Tensor>* freed = nullptr);

  // Returns the sum, which is in the last tensor added, and becomes empty again.
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

// Returns the sum of these tensors, which is in one of them.
at::Tensor pairwise_sum(const std::vector<at::Tensor>& terms);

}  // namespace halfback
