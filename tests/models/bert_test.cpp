#include "halfback/models/bert.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <limits>

namespace halfback {
namespace {

std::string refusal(const BertConfig& config) {
  return text_of_thrown<ConfigError>([&] { check(config); });
}

TEST(BertTest, RefusesWhatItCannotBeByItsOption) {
  EXPECT_EQ(refusal({.width = 10, .num_heads = 4}),
            "model: 4 heads do not divide width 10; change --width or --heads");
  EXPECT_EQ(refusal({.norm_epsilon = 0.0}),
            "model: --norm-epsilon is 0; expected a finite number above 0");
  EXPECT_EQ(refusal({.dropout = 1.0}), "model: --dropout is 1; expected 0 to below 1");
  EXPECT_EQ(refusal({.masked_fraction = 0.0}),
            "model: --masked-fraction is 0; expected above 0, at most 1");
  EXPECT_EQ(refusal({.masked_fraction = std::numeric_limits<double>::quiet_NaN()}),
            "model: --masked-fraction is nan; expected above 0, at most 1");
}

}  // namespace
}  // namespace halfback
