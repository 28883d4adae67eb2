#include "halfback/layers/masked_loss.h"

#include "halfback/layers/products.h"

#include <ATen/ops/index_select.h>
#include <ATen/ops/nonzero.h>
#include <ATen/ops/zeros.h>

#include <vector>

namespace halfback {

double MaskedLoss::forward(const at::Tensor& input,
                           const at::Tensor& targets,
                           Saved& saved,
                           const Call& call) {
  const at::Tensor all_targets = targets.flatten();
  const at::Tensor rows = at::nonzero(all_targets.ge(0)).flatten();
  saved.until_input = {rows};
  saved.shape = input.sizes().vec();
  saved.add_members(1);
  return loss_->forward(at::index_select(as_rows(input), 0, rows),
                        at::index_select(all_targets, 0, rows), saved.members.front(), call);
}

std::int64_t MaskedLoss::num_correct(const Saved& saved) const {
  return loss_->num_correct(saved.members.front());
}

at::Tensor MaskedLoss::backward_input(double scale, Saved& saved, const Call& call) {
  const at::Tensor own = loss_->backward_input(scale, saved.members.front(), call);
  at::Tensor gradient = at::zeros(saved.shape, own.options());
  as_rows(gradient).index_copy_(0, saved.until_input.front(), own);
  saved.until_input.clear();
  return gradient;
}

void MaskedLoss::backward_weight(std::span<Saved*> saved) {
  std::vector<Saved*> members = members_of(saved, 0);
  loss_->backward_weight(members);
  for (Saved* const one : saved) {
    one->members.clear();
  }
}

SavedBytes MaskedLoss::saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const {
  const std::int64_t rows = input_shape.front() * targets_per_sample_;
  SavedBytes bytes = loss_->saved_bytes({rows, input_shape.back()}, element_bytes);
  bytes.until_input += rows * static_cast<std::int64_t>(2 * sizeof(std::int64_t));
  return bytes;
}

Flops MaskedLoss::flops(const Shape& input_shape) const {
  return loss_->flops({input_shape.front() * targets_per_sample_, input_shape.back()});
}

}  // namespace halfback
