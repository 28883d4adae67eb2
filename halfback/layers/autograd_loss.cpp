#include "halfback/layers/autograd_loss.h"

#include "halfback/base/error.h"
#include "halfback/layers/known_autograd.h"

#include <ATen/ops/full_like.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <memory>
#include <utility>

namespace halfback {

AutogradLoss::AutogradLoss(ForeignLoss loss) : loss_(std::move(loss)), leaves_(loss_.name, {}, {}) {
  require_known_autograd();
}

double AutogradLoss::forward(const at::Tensor& input,
                             const at::Tensor& targets,
                             Saved& saved,
                             const Call& call) {
  const c10::InferenceMode mode(!call.is_training);
  const at::Tensor entering = call.is_training ? savable(input) : input;
  if (call.is_training) {
    saved.graph = std::make_shared<AutogradGraph>(leaves_);
    saved.graph->begin({entering});
  }
  const at::Tensor loss = loss_.forward(entering, targets, call);
  if (!loss.defined() || loss.numel() != 1 || (call.is_training && !loss.requires_grad())) {
    throw ConfigError(fmt::format(
        "{}: it returned {}; expected one number that depends on the model's outputs; return the "
        "sum over the targets",
        loss_.name,
        !loss.defined()     ? "nothing"
        : loss.numel() != 1 ? fmt::format("a tensor of {} elements", loss.numel())
                            : "a number without a gradient"));
  }
  if (call.is_training) {
    saved.graph->end({loss});
    saved.until_input = {loss.variable_data()};
  } else if (loss_.num_correct) {
    saved.until_input = {input, targets};
  }
  return loss.item<double>();
}

std::int64_t AutogradLoss::num_correct(const Saved& saved) const {
  return loss_.num_correct && saved.until_input.size() == 2
             ? loss_.num_correct(saved.until_input[0], saved.until_input[1])
             : 0;
}

at::Tensor AutogradLoss::backward_input(double scale, Saved& saved, const Call& /*call*/) {
  const c10::InferenceMode normal(false);
  const at::Tensor arriving = at::full_like(std::exchange(saved.until_input, {}).front(), scale);
  at::Tensor found = saved.graph->backward_input({arriving}).front();
  return found.is_contiguous() ? std::move(found) : found.contiguous();
}

void AutogradLoss::backward_weight(std::span<Saved*> saved) {
  for (Saved* const one : saved) {
    one->graph.reset();
  }
}

SavedBytes AutogradLoss::saved_bytes(const Shape& /*input_shape*/,
                                     std::int64_t /*element_bytes*/) const {
  return {.is_exact = false};
}

Flops AutogradLoss::flops(const Shape& /*input_shape*/) const { return {}; }

}  // namespace halfback
