// The fixture of tests that run for each layer case in float32 and in double.
#pragma once

#include "tests/support/layer_cases.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <tuple>
#include <vector>

namespace halfback {

using TypedCase = std::tuple<LayerCase, at::ScalarType>;

class LayerTest : public testing::TestWithParam<TypedCase> {
 protected:
  LayerTest() { give_memory(layer_->parameters(), dtype_, random_); }

  LayerCase case_ = std::get<0>(GetParam());
  at::ScalarType dtype_ = std::get<1>(GetParam());
  Random random_;
  std::unique_ptr<Layer> layer_ = case_.make(dtype_);
};

inline auto in_both_types(const std::vector<LayerCase>& cases) {
  return testing::Combine(testing::ValuesIn(cases), testing::Values(at::kFloat, at::kDouble));
}

inline std::string typed_case_name(const testing::TestParamInfo<TypedCase>& info) {
  return std::get<0>(info.param).name + at::toString(std::get<1>(info.param));
}

}  // namespace halfback
