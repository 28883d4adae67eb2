// A parameter of a layer: its name and shape, its initial values, and its memory.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace halfback {

// The initial values of a parameter.
enum class Draw {
  Normal,           // around the mean; all equal to it if the standard deviation is 0
  Uniform,          // likewise
  LogOfColumn,      // log(1), log(2), ... along the last dimension
  InverseSoftplus,  // log(1 + e^value) is log-uniform from 0.001 to 0.1
  Given,            // the values of Parameter::given
};
struct Init {
  double mean = 0.0;
  double standard_deviation = 0.0;
  Draw draw = Draw::Normal;
};

// Rows [begin, end) of a parameter, and their name in a checkpoint.
struct NamedRows {
  std::string name;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

// A tensor that training changes. The stage allocates value and gradient; the layer reads the value
// and accumulates into the gradient.
struct Parameter {
  std::string name;
  std::vector<std::int64_t> shape;
  Init init;
  bool decays = true;    // weight decay applies: true for matrices, false for norms and biases
  bool is_copy = false;  // copy of an earlier layer's parameter of that name, always equal to it
  // false: a running statistic, which W changes, or a value that no loss trains, which stays. It
  // has no gradient.
  bool trains = true;
  std::vector<NamedRows> checkpoint_rows = {};
  at::Tensor given = {};  // released once its values have been copied
  at::Tensor value = {};
  at::Tensor rounded = {};  // the value in the products' type, if that is smaller
  at::Tensor gradient = {};
  bool has_gradient = false;    // false until a step's first accumulation, which overwrites
  at::Tensor mask = {};         // 1, or 0 where pruning holds the value at 0; undefined without
  std::int64_t num_pruned = 0;  // elements that are held at 0

  std::int64_t numel() const;

  // Returns the operand of products: the rounded value if there is one.
  const at::Tensor& operand() const { return rounded.defined() ? rounded : value; }
};

}  // namespace halfback
