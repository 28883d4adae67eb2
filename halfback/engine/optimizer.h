// AdamW and SGD over the flat buffers of a stage, on ATen's fused kernels: one pass over memory.
// Sources: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", arXiv:1711.05101;
// Sutskever et al., "On the importance of initialization and momentum", ICML 2013.
#pragma once

#include "halfback/engine/parameter_store.h"
#include "halfback/group/shards.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace halfback {

enum class OptimizerKind { AdamW, Sgd };

// Returns "adamw" or "sgd".
std::string to_string(OptimizerKind kind);

struct OptimizerOptions {
  OptimizerKind kind = OptimizerKind::AdamW;
  double weight_decay = 0.1;  // of the decaying parameters; decoupled in AdamW
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double momentum = 0.9;     // of SGD
  bool is_nesterov = false;  // whose momentum looks one step ahead
};

class Optimizer {
 public:
  Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;
  virtual ~Optimizer() = default;

  // Updates the values with gradients / gradient_divisor. `step` counts from 1.
  struct StepOptions {
    std::int64_t step = 1;
    double learning_rate = 0.0;
    double gradient_divisor = 1.0;
  };
  virtual void step(const ParameterStore& store, const StepOptions& options) = 0;

  // Returns the state of its elements as named buffers.
  virtual std::vector<std::pair<std::string, at::Tensor>> state() = 0;
};

// Makes an optimizer with zero state that updates only these elements of the store.
std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options,
                                          const ParameterStore& store,
                                          const ElementRange& elements);

}  // namespace halfback
