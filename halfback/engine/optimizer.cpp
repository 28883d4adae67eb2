#include "halfback/engine/optimizer.h"

#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros_like.h>

#include <array>
#include <optional>

namespace halfback {

namespace {

// The two groups of a buffer: decaying, then not.
struct Group {
  std::int64_t begin;
  std::int64_t length;
  double weight_decay;
};

std::vector<Group> groups(const ParameterStore& store, double weight_decay) {
  const std::int64_t decaying = store.num_decaying();
  const std::int64_t rest = store.values().numel() - decaying;
  std::vector<Group> both;
  if (decaying > 0) {
    both.push_back({0, decaying, weight_decay});
  }
  if (rest > 0) {
    both.push_back({decaying, rest, 0.0});
  }
  return both;
}

// A number as the fused kernels take it: where the values are.
at::Tensor number(double value, const ParameterStore& store) {
  return at::scalar_tensor(value, store.values().options().dtype(at::kFloat));
}

std::optional<at::Tensor> divisor_tensor(double divisor, const ParameterStore& store) {
  return divisor == 1.0 ? std::nullopt : std::optional(number(divisor, store));
}

class AdamW final : public Optimizer {
 public:
  AdamW(const OptimizerOptions& options, const ParameterStore& store)
      : options_(options),
        first_moment_(at::zeros_like(store.values())),
        second_moment_(at::zeros_like(store.values())) {}

  void step(const ParameterStore& store, const StepOptions& options) override {
    const std::optional<at::Tensor> divisor = divisor_tensor(options.gradient_divisor, store);
    const at::Tensor count = number(static_cast<double>(options.step), store);
    for (const Group& group : groups(store, options_.weight_decay)) {
      const auto part = [&group](const at::Tensor& buffer) {
        return std::array{buffer.narrow(0, group.begin, group.length)};
      };
      at::_fused_adamw_(part(store.values()), part(store.gradients()), part(first_moment_),
                        part(second_moment_), {}, {count}, options.learning_rate, options_.beta1,
                        options_.beta2, group.weight_decay, options_.epsilon,
                        /*amsgrad=*/false,
                        /*maximize=*/false, divisor);
    }
  }

  std::vector<std::pair<std::string, at::Tensor>> state() override {
    return {{"exp_avg", first_moment_}, {"exp_avg_sq", second_moment_}};
  }

 private:
  OptimizerOptions options_;
  at::Tensor first_moment_;
  at::Tensor second_moment_;
};

class Sgd final : public Optimizer {
 public:
  Sgd(const OptimizerOptions& options, const ParameterStore& store)
      : options_(options), momentum_(at::zeros_like(store.values())) {}

  void step(const ParameterStore& store, const StepOptions& options) override {
    const std::optional<at::Tensor> divisor = divisor_tensor(options.gradient_divisor, store);
    for (const Group& group : groups(store, options_.weight_decay)) {
      const auto part = [&group](const at::Tensor& buffer) {
        return std::array{buffer.narrow(0, group.begin, group.length)};
      };
      at::_fused_sgd_(part(store.values()), part(store.gradients()), part(momentum_),
                      group.weight_decay, options_.momentum, options.learning_rate,
                      /*dampening=*/0.0,
                      /*nesterov=*/false,
                      /*maximize=*/false,
                      /*is_first_step=*/false, divisor);
    }
  }

  std::vector<std::pair<std::string, at::Tensor>> state() override {
    return {{"momentum", momentum_}};
  }

 private:
  OptimizerOptions options_;
  at::Tensor momentum_;
};

}  // namespace

std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options,
                                          const ParameterStore& store) {
  if (options.kind == OptimizerKind::AdamW) {
    return std::make_unique<AdamW>(options, store);
  }
  return std::make_unique<Sgd>(options, store);
}

}  // namespace halfback
