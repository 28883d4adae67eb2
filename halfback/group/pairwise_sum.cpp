#include "halfback/group/pairwise_sum.h"

#include "halfback/base/error.h"

#include <utility>

namespace halfback {

void PairwiseSum::add(at::Tensor term, std::vector<at::Tensor>* freed) {
  Part part{.level = 0, .sum = std::move(term)};
  while (!parts_.empty() && parts_.back().level == part.level) {
    take_part(part.sum, freed);
    ++part.level;
  }
  parts_.push_back(std::move(part));
}

at::Tensor PairwiseSum::finish(std::vector<at::Tensor>* freed) {
  HALFBACK_CHECK(!parts_.empty(), "nothing was added");
  at::Tensor sum = std::move(parts_.back().sum);
  parts_.pop_back();
  while (!parts_.empty()) {
    take_part(sum, freed);
  }
  return sum;
}

void PairwiseSum::take_part(at::Tensor& sum, std::vector<at::Tensor>* freed) {
  sum.add_(parts_.back().sum);
  if (freed != nullptr) {
    freed->push_back(std::move(parts_.back().sum));
  }
  parts_.pop_back();
}

at::Tensor pairwise_sum(const std::vector<at::Tensor>& terms) {
  PairwiseSum sum;
  for (const at::Tensor& term : terms) {
    sum.add(term);
  }
  return sum.finish();
}

}  // namespace halfback
