// A parameter of a layer: its name and shape, its initial values, and its memory.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace halfback {

// The initial values of a parameter.
enum class Draw {
  Normal,           // around the mean; all equal to it without a standard deviation
  Uniform,          // likewise
  LogOfColumn,      // log(1), log(2), ... along the last dimension
  InverseSoftplus,  // log(1 + e^value) is spread evenly by its logarithm from 0.001 to 0.1
  Given,            // those of Parameter::given
};
struct Init {
  double mean = 0.0;
  double standard_deviation = 0.0;
  Draw draw = Draw::Normal;
};

// Rows [begin, end) of a parameter under the name they have in a checkpoint.
struct NamedRows {
  std::string name;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

// A tensor that training changes. The stage gives value and gradient their memory; the layer reads
// the value and accumulates into the gradient.
struct Parameter {
  std::string name;
  std::vector<std::int64_t> shape;
  Init init;
  bool decays = true;    // weight decay applies: matrices yes, norms and biases no
  bool is_copy = false;  // of the parameter of that name on an earlier layer: equal at all times
  bool trains = true;    // false: a running statistic, which has no gradient and which W changes
  std::vector<NamedRows> checkpoint_rows = {};
  at::Tensor given = {};  // released once its values have been taken
  at::Tensor value = {};
  at::Tensor rounded = {};  // the value in the type of the products, where that is a smaller one
  at::Tensor gradient = {};
  bool has_gradient = false;  // false until the first accumulation of a step, which overwrites

  std::int64_t numel() const;

  // Returns the operand of products: the rounded value if there is one.
  const at::Tensor& operand() const { return rounded.defined() ? rounded : value; }
};

}  // namespace halfback
