// Functions of plain ATen operators as modules of libtorch: for AutogradLayer, and for autograd
// beside it.
#pragma once

#include "halfback/layers/autograd_layer.h"
#include "tests/support/layer_cases.h"

#include <memory>
#include <string>
#include <vector>

namespace halfback {

// A function of its parameters and its input, and the parameters' shapes.
struct ForeignFunction {
  std::vector<std::vector<std::int64_t>> shapes;
  Reference function;
};

// Makes the module; its parameters are named "0", "1", ... and zero.
ForeignModule make_module(const std::string& name,
                          const ForeignFunction& function,
                          at::ScalarType dtype = at::kFloat);

// x + MLP(layer norm(x)), with biases.
ForeignFunction mlp_block(std::int64_t channels, std::int64_t hidden);

// x + attention(layer norm(x)), by the fused operator.
ForeignFunction attention_block(std::int64_t channels, std::int64_t heads);

}  // namespace halfback
