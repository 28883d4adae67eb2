#include "halfback/engine/optimizer.h"

#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <optional>

namespace halfback {

namespace {

// The part of a range of elements that is in one of a buffer's two groups: decaying, then the rest.
struct Group {
  ElementRange elements;
  double weight_decay;
};

std::vector<Group> groups(const ParameterStore& store,
                          const ElementRange& elements,
                          double weight_decay) {
  const std::int64_t decaying = store.num_decaying();
  std::vector<Group> both;
  for (const Group& group :
       {Group{{elements.begin, std::min(elements.end, decaying)}, weight_decay},
        Group{{std::max(elements.begin, decaying), elements.end}, 0.0}}) {
    if (group.elements.size() > 0) {
      both.push_back(group);
    }
  }
  return both;
}

// Returns the elements of a group, from a buffer that begins with element `first`.
std::array<at::Tensor, 1> part(const at::Tensor& buffer, const Group& group, std::int64_t first) {
  return {buffer.narrow(0, group.elements.begin - first, group.elements.size())};
}

at::Tensor zeros(const ParameterStore& store, const ElementRange& elements) {
  return at::zeros({elements.size()}, store.values().options());
}

// Returns a number as the fused kernels take it: on the device of the values.
at::Tensor number(double value, const ParameterStore& store) {
  return at::scalar_tensor(value, store.values().options().dtype(at::kFloat));
}

std::optional<at::Tensor> divisor_tensor(double divisor, const ParameterStore& store) {
  return divisor == 1.0 ? std::nullopt : std::optional(number(divisor, store));
}

class AdamW final : public Optimizer {
 public:
  AdamW(const OptimizerOptions& options, const ParameterStore& store, const ElementRange& elements)
      : options_(options),
        elements_(elements),
        first_moment_(zeros(store, elements)),
        second_moment_(zeros(store, elements)) {}

  void step(const ParameterStore& store, const StepOptions& options) override {
    const std::optional<at::Tensor> divisor = divisor_tensor(options.gradient_divisor, store);
    const at::Tensor count = number(static_cast<double>(options.step), store);
    const std::int64_t first = elements_.begin;
    for (const Group& group : groups(store, elements_, options_.weight_decay)) {
      at::_fused_adamw_(part(store.values(), group, 0), part(store.gradients(), group, 0),
                        part(first_moment_, group, first), part(second_moment_, group, first), {},
                        {count}, options.learning_rate, options_.beta1, options_.beta2,
                        group.weight_decay, options_.epsilon,
                        /*amsgrad=*/false,
                        /*maximize=*/false, divisor);
    }
  }

  std::vector<std::pair<std::string, at::Tensor>> state() override {
    return {{"exp_avg", first_moment_}, {"exp_avg_sq", second_moment_}};
  }

 private:
  OptimizerOptions options_;
  ElementRange elements_;
  at::Tensor first_moment_;
  at::Tensor second_moment_;
};

class Sgd final : public Optimizer {
 public:
  Sgd(const OptimizerOptions& options, const ParameterStore& store, const ElementRange& elements)
      : options_(options), elements_(elements), momentum_(zeros(store, elements)) {}

  void step(const ParameterStore& store, const StepOptions& options) override {
    const std::optional<at::Tensor> divisor = divisor_tensor(options.gradient_divisor, store);
    for (const Group& group : groups(store, elements_, options_.weight_decay)) {
      const auto momentum = part(momentum_, group, elements_.begin);
      // The kernel refuses a buffer that it does not use.
      at::_fused_sgd_(part(store.values(), group, 0), part(store.gradients(), group, 0),
                      options_.momentum == 0.0 ? at::TensorList() : at::TensorList(momentum),
                      group.weight_decay, options_.momentum, options.learning_rate,
                      /*dampening=*/0.0, options_.is_nesterov,
                      /*maximize=*/false,
                      /*is_first_step=*/false, divisor);
    }
  }

  std::vector<std::pair<std::string, at::Tensor>> state() override {
    return {{"momentum", momentum_}};
  }

 private:
  OptimizerOptions options_;
  ElementRange elements_;
  at::Tensor momentum_;
};

}  // namespace

std::string to_string(OptimizerKind kind) { return kind == OptimizerKind::AdamW ? "adamw" : "sgd"; }

std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options,
                                          const ParameterStore& store,
                                          const ElementRange& elements) {
  if (options.kind == OptimizerKind::AdamW) {
    return std::make_unique<AdamW>(options, store, elements);
  }
  return std::make_unique<Sgd>(options, store, elements);
}

}  // namespace halfback
