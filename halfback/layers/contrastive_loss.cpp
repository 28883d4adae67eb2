#include "halfback/layers/contrastive_loss.h"

#include "halfback/base/error.h"
#include "halfback/kernels/matrix_product.h"
#include "halfback/kernels/rows.h"
#include "halfback/layers/unit_rows.h"

#include <ATen/ops/arange.h>
#include <fmt/format.h>

#include <limits>
#include <utility>

namespace halfback {

namespace {

// Slots of Saved::until_input. Until I, the logits' memory holds log-probabilities.
enum { kRows, kNorms, kLogits };

// Returns the row of each row's partner.
at::Tensor partners(const at::Tensor& rows) {
  const std::int64_t count = rows.size(0);
  return at::arange(count, rows.options().dtype(at::kLong)).roll(count / 2);
}

}  // namespace

double ContrastiveLoss::forward(const at::Tensor& input,
                                const at::Tensor& /*targets*/,
                                Saved& saved,
                                const Call& /*call*/) {
  HALFBACK_CHECK(input.size(0) % 2 == 0, fmt::format("{} rows in pairs", input.size(0)));
  const at::Tensor rows = input.clone();
  const at::Tensor norms = divide_by_norms(rows);
  at::Tensor logits = multiply(rows, rows.t()).div_(temperature_);
  logits.fill_diagonal_(-std::numeric_limits<double>::infinity());
  const double loss = kernels::log_softmax_loss(logits, partners(rows));
  saved.until_input = {rows, norms, logits};
  return loss;
}

std::int64_t ContrastiveLoss::num_correct(const Saved& saved) const {
  return kernels::count_correct(saved.until_input[kLogits], partners(saved.until_input[kRows]));
}

at::Tensor ContrastiveLoss::backward_input(double scale, Saved& saved, const Call& /*call*/) {
  Tensors kept = std::exchange(saved.until_input, {});
  const at::Tensor& rows = kept[kRows];
  at::Tensor& gradient = kept[kLogits];
  kernels::log_softmax_loss_backward(gradient, partners(rows), scale / temperature_);
  gradient.fill_diagonal_(0.0);  // kernels clamp what is below their smallest exponential
  // Each logit is a product of two rows, so a row takes part as the one and as the other.
  return divide_by_norms_backward(multiply(gradient.add(gradient.t()), rows), rows, kept[kNorms]);
}

SavedBytes ContrastiveLoss::saved_bytes(const Shape& input_shape,
                                        std::int64_t element_bytes) const {
  const std::int64_t rows = input_shape[0];
  return {.until_input = (numel(input_shape) + rows + rows * rows) * element_bytes};
}

Flops ContrastiveLoss::flops(const Shape& input_shape) const {
  const std::int64_t each = 2 * input_shape[0] * numel(input_shape);
  return {.forward = each, .input = each};
}

}  // namespace halfback
