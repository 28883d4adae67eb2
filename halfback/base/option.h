// Checks of a value that an option of the command line has, too: the library refuses what the
// command line refuses, by the same names.
#pragma once

#include "halfback/base/error.h"

#include <fmt/format.h>

#include <concepts>
#include <string_view>

namespace halfback {

// Throws ConfigError "--beta1 is 2; expected 0 to below 1" unless it holds.
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
