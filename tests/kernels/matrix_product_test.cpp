// Products against the same in double, for sizes on both sides of every choice that is made.
#include "halfback/kernels/matrix_product.h"

#include "tests/support/layer_checks.h"

#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace halfback {
namespace {

struct ProductShape {
  std::int64_t rows;
  std::int64_t length;  // of the sums
  std::int64_t columns;
};
const std::vector<ProductShape> kShapes = {
    {3, 5, 2},       {31, 4000, 60},  {32, 4000, 60},  {33, 1536, 64},  {40, 1537, 47},
    {64, 3072, 33},  {170, 2137, 55}, {349, 5883, 39}, {128, 128, 127}, {129, 130, 131},
    {512, 256, 768}, {1, 4096, 600},  {3, 24, 31},     {4, 17, 15},     {3, 1001, 1001},
    {31, 16, 2},     {17, 40, 1030},  {700, 33, 7},    {600, 20, 520},
};

class MatrixProductTest : public testing::TestWithParam<ProductShape> {
 protected:
  // A matrix as it is, or the transposed one of the other layout.
  at::Tensor matrix(std::int64_t rows, std::int64_t columns, bool is_transposed) {
    return is_transposed ? random_.normal({columns, rows}, at::kFloat).t()
                         : random_.normal({rows, columns}, at::kFloat);
  }

  Random random_;
};

TEST_P(MatrixProductTest, EqualsTheProductInDoubleAndItsOwnBitsOnEveryNumberOfThreads) {
  const auto [rows, length, columns] = GetParam();
  const double tolerance = 1e-7 * std::sqrt(static_cast<double>(length));
  for (const bool transposes_a : {false, true}) {
    for (const bool transposes_b : {false, true}) {
      const at::Tensor a = matrix(rows, length, transposes_a);
      const at::Tensor b = matrix(length, columns, transposes_b);
      const at::Tensor before = random_.normal({rows, columns}, at::kFloat);
      const at::Tensor product = at::mm(a.to(at::kDouble), b.to(at::kDouble));
      at::Tensor first;
      at::Tensor first_sum;
      for (const int threads : {1, 2, 3, 4}) {
        const Threads some(threads);
        const at::Tensor found =
            at::full({rows, columns}, std::numeric_limits<float>::quiet_NaN(), at::kFloat);
        multiply(a, b, found, Product::Overwrites);
        const at::Tensor sum = before.clone();
        multiply(a, b, sum, Product::Adds);
        if (threads == 1) {
          EXPECT_LT(relative_error(found.to(at::kDouble), product), tolerance);
          EXPECT_LT(relative_error(sum.to(at::kDouble), product.add(before)), tolerance);
          first = found;
          first_sum = sum;
        }
        EXPECT_TRUE(same_bits(found, first)) << threads << " threads";
        EXPECT_TRUE(same_bits(sum, first_sum)) << threads << " threads";
      }
    }
  }
}

std::string shape_name(const testing::TestParamInfo<ProductShape>& info) {
  return std::to_string(info.param.rows) + "x" + std::to_string(info.param.length) + "x" +
         std::to_string(info.param.columns);
}

INSTANTIATE_TEST_SUITE_P(All, MatrixProductTest, testing::ValuesIn(kShapes), shape_name);

}  // namespace
}  // namespace halfback
