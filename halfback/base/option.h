// Checks of values that are also command line options: the library refuses the same values, under
// the same names.
#pragma once

#include "halfback/base/error.h"

#include <fmt/format.h>

#include <concepts>
#include <string_view>

namespace halfback {

// Throws ConfigError such as "--beta1 is 2; expected 0 to below 1" unless the condition holds.
template <typename Value>
void require_option(bool holds, std::string_view name, Value value, std::string_view expected) {
  if (!holds) {
    if constexpr (std::floating_point<Value>) {
      throw ConfigError(fmt::format("--{} is {:g}; expected {}", name, value, expected));
    } else {
      throw ConfigError(fmt::format("--{} is {}; expected {}", name, value, expected));
    }
  }
}

}  // namespace halfback
