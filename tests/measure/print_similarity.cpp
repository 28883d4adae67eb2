// Prints matrices and how alike they are as JSON, for tests/python/similarity_agrees.py to compare.
#include "halfback/measure/similarity.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <iostream>

namespace {

at::Tensor numbers(std::int64_t rows, std::int64_t columns, double phase) {
  at::Tensor all = at::empty({rows, columns}, at::kDouble);
  auto* const data = all.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < all.numel(); ++i) {
    data[i] = std::sin(phase + 1.7 * static_cast<double>(i * i % 1009)) + 0.3;
  }
  return all;
}

nlohmann::json json_of(const at::Tensor& matrix) {
  nlohmann::json rows;
  for (std::int64_t i = 0; i < matrix.size(0); ++i) {
    const auto* const row = matrix.const_data_ptr<double>() + i * matrix.size(1);
    rows.push_back(std::vector<double>(row, row + matrix.size(1)));
  }
  return rows;
}

}  // namespace

int main() {
  nlohmann::json all;
  const auto add = [&all](const at::Tensor& a, const at::Tensor& b) {
    all.push_back({{"a", json_of(a)},
                   {"b", json_of(b)},
                   {"cka", halfback::linear_cka(a, b)},
                   {"angles", halfback::subspace_angles(a, b)}});
  };
  add(numbers(40, 6, 0.1), numbers(40, 9, 0.7));
  add(numbers(30, 12, 0.1), numbers(30, 5, 2.0));
  add(numbers(25, 25, 0.5), numbers(25, 3, 1.0));
  const at::Tensor near = numbers(50, 8, 0.2);
  for (const double distance : {1e-1, 1e-4, 1e-8}) {
    add(near, (near + distance * numbers(50, 8, 1.3)).contiguous());
  }
  add(near, at::cat({near.narrow(1, 0, 3), near.narrow(1, 0, 3)}, 1).contiguous());
  std::cout << all.dump() << '\n';
}
