// One row at a time: accuracy of the exponential, extreme values, and values that are not numbers.
#include "halfback/kernels/row_loops.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace halfback::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The usual NaN, the one that x86 makes, and one whose low bits are not zero.
std::vector<float> not_numbers() {
  return {std::numeric_limits<float>::quiet_NaN(), std::bit_cast<float>(0xffc00000U),
          std::bit_cast<float>(0x7fc00001U), std::bit_cast<float>(0x7fc000ffU),
          std::bit_cast<float>(0xffc001ffU)};
}

double silu(double x) { return x / (1.0 + std::exp(-x)); }

double silu_slope(double x) {
  const double sigmoid = 1.0 / (1.0 + std::exp(-x));
  return sigmoid * (1.0 + x * (1.0 - sigmoid));
}

TEST(ScaledExpTest, IsWithinTwoUnitsInTheLastPlace) {
  constexpr int kCount = 200001;
  std::vector<float> x(kCount);
  for (int i = 0; i < kCount; ++i) {
    x[static_cast<std::size_t>(i)] = -87.0F + 175.0F * static_cast<float>(i) / (kCount - 1);
  }
  std::vector<float> actual = x;
  rows::scaled_exp(actual.data(), 1.0F, kCount);
  double worst = 0.0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double expected = std::exp(static_cast<double>(x[i]));
    const auto rounded = static_cast<float>(expected);
    const double unit = static_cast<double>(std::nextafter(rounded, kInfinity)) - rounded;
    worst = std::max(worst, std::abs(static_cast<double>(actual[i]) - expected) / unit);
  }
  EXPECT_LE(worst, 2.0);
}

TEST(ScaledExpTest, IsExactAtZero) {
  std::vector<float> x(40, 0.0F);
  rows::scaled_exp(x.data(), 3.0F, 40);
  EXPECT_EQ(x, std::vector<float>(40, 3.0F));
}

TEST(ScaledExpTest, VanishesFarBelowZero) {
  std::vector<float> x{-100.0F, -1e4F, -1e30F, -kInfinity};
  rows::scaled_exp(x.data(), 1.0F, 4);
  for (const float value : x) {
    EXPECT_GE(value, 0.0F);
    EXPECT_LT(value, 1e-37F);
  }
}

TEST(ScaledExpTest, KeepsWhatIsNotANumber) {
  for (const float nan : not_numbers()) {
    std::vector<float> x(35, nan);
    rows::scaled_exp(x.data(), 1.0F, 35);
    for (const float value : x) {
      EXPECT_TRUE(std::isnan(value)) << std::hex << std::bit_cast<std::uint32_t>(nan);
    }
  }
}

template <typename Real>
class SwigluTest : public testing::Test {
 protected:
  static constexpr double kTolerance = 4.0 * std::numeric_limits<Real>::epsilon();
  // More than a vector's worth, then a tail.
  std::vector<Real> gate_{-1e4, -100, -88, -20, -3,  -1,  -0.5, -1e-6, 0, 1e-6, 0.5, 1,
                          3,    20,   87,  88,  100, 1e4, 2,    -2,    7, -7,   11,  -11};
  std::int64_t count_ = static_cast<std::int64_t>(gate_.size());
};
using Reals = testing::Types<float, double>;
TYPED_TEST_SUITE(SwigluTest, Reals);

TYPED_TEST(SwigluTest, EqualsTheFormulaForSmallAndExtremeGates) {
  const std::vector<TypeParam> up(this->gate_.size(), TypeParam{1.5});
  std::vector<TypeParam> activated(this->gate_.size());
  rows::swiglu(this->gate_.data(), up.data(), activated.data(), this->count_);
  for (std::size_t i = 0; i < activated.size(); ++i) {
    const double expected = 1.5 * silu(static_cast<double>(this->gate_[i]));
    EXPECT_NEAR(static_cast<double>(activated[i]), expected,
                this->kTolerance * std::abs(expected) + 1e-30)
        << this->gate_[i];
  }
}

TYPED_TEST(SwigluTest, HasTheGradientsOfTheFormula) {
  const std::vector<TypeParam> gate = this->gate_;
  std::vector<TypeParam> grad_gate = gate;
  std::vector<TypeParam> grad_up(gate.size(), TypeParam{1.5});
  std::vector<TypeParam> activated(gate.size(), TypeParam{-2});
  rows::swiglu_backward(grad_gate.data(), grad_up.data(), activated.data(), this->count_);
  for (std::size_t i = 0; i < gate.size(); ++i) {
    const auto x = static_cast<double>(gate[i]);
    const double slope = -2.0 * 1.5 * silu_slope(x);
    EXPECT_NEAR(static_cast<double>(grad_gate[i]), slope, 4 * this->kTolerance) << x;
    EXPECT_NEAR(static_cast<double>(grad_up[i]), -2.0 * silu(x),
                this->kTolerance * std::abs(2.0 * silu(x)) + 1e-30)
        << x;
  }
}

TYPED_TEST(SwigluTest, MakesInItsBackwardTheBitsOfItsForward) {
  const std::vector<TypeParam> up(this->gate_.size(), TypeParam{1.5});
  std::vector<TypeParam> forward(this->gate_.size());
  rows::swiglu(this->gate_.data(), up.data(), forward.data(), this->count_);
  std::vector<TypeParam> gate = this->gate_;
  std::vector<TypeParam> grad_up = up;
  std::vector<TypeParam> activated(gate.size(), TypeParam{1});
  rows::swiglu_backward(gate.data(), grad_up.data(), activated.data(), this->count_);
  for (std::size_t i = 0; i < gate.size(); ++i) {
    EXPECT_NEAR(static_cast<double>(activated[i]), static_cast<double>(forward[i]),
                this->kTolerance * std::abs(static_cast<double>(forward[i])) + 1e-30);
  }
}

TEST(SwigluNanTest, KeepsWhatIsNotANumber) {
  for (const float nan : not_numbers()) {
    const std::vector<float> gate{nan, 1.0F, -100.0F, 1e4F};
    const std::vector<float> up{1.0F, nan, nan, nan};
    std::vector<float> activated(4);
    rows::swiglu(gate.data(), up.data(), activated.data(), 4);
    std::vector<float> grad_gate = gate;
    std::vector<float> grad_up = up;
    std::vector<float> again(4, 1.0F);
    rows::swiglu_backward(grad_gate.data(), grad_up.data(), again.data(), 4);
    for (std::size_t i = 0; i < 4; ++i) {
      EXPECT_TRUE(std::isnan(activated[i])) << i;
      EXPECT_TRUE(std::isnan(again[i])) << i;
      EXPECT_TRUE(std::isnan(grad_gate[i])) << i;
    }
    EXPECT_TRUE(std::isnan(grad_up[0]));
  }
}

TEST(LogSoftmaxTest, IsRightForExtremeLogits) {
  const std::vector<float> logits{1e4F, -1e4F, 100.0F, -100.0F, 1e4F, 9999.0F};
  std::vector<float> actual = logits;
  rows::log_softmax(actual.data(), 6);
  const double shift = 1e4 + std::log(2.0 + std::exp(-1.0));
  for (std::size_t i = 0; i < logits.size(); ++i) {
    // A float near 1e4 has a unit in the last place of 1e-3.
    EXPECT_NEAR(actual[i], static_cast<double>(logits[i]) - shift, 2e-3) << i;
  }
}

TEST(LogSoftmaxTest, OfOneColumnIsZero) {
  for (const float logit : {0.0F, 100.0F, -100.0F, 1e4F, -1e4F}) {
    float value = logit;
    rows::log_softmax(&value, 1);
    EXPECT_EQ(value, 0.0F) << logit;
  }
}

TEST(LogSoftmaxTest, SumsToOne) {
  for (const std::int64_t columns : {2, 15, 16, 17, 1000}) {
    std::vector<float> x(static_cast<std::size_t>(columns));
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = static_cast<float>(std::sin(static_cast<double>(i)) * 5.0);
    }
    rows::log_softmax(x.data(), columns);
    double total = 0.0;
    for (const float value : x) {
      total += std::exp(static_cast<double>(value));
    }
    EXPECT_NEAR(total, 1.0, 2e-6) << columns;
  }
}

TEST(LogSoftmaxTest, MakesTheWholeRowNanWhereverTheNanIs) {
  for (const float nan : not_numbers()) {
    for (const std::size_t place : {0U, 1U, 16U, 36U}) {
      std::vector<float> x(37, 0.5F);
      x[place] = nan;
      rows::log_softmax(x.data(), 37);
      for (const float value : x) {
        EXPECT_TRUE(std::isnan(value)) << place;
      }
    }
  }
}

}  // namespace
}  // namespace halfback::kernels
