// Numbers of parameters in a model that shares none of them.
#pragma once

#include "halfback/engine/parameter_store.h"

#include <cstdint>
#include <numeric>
#include <vector>

namespace halfback::testing {

// Returns one for each parameter of the store, ascending.
inline std::vector<std::uint64_t> numbers_from(std::uint64_t first, const ParameterStore& store) {
  std::vector<std::uint64_t> numbers(store.parameters().size());
  std::iota(numbers.begin(), numbers.end(), first);
  return numbers;
}

}  // namespace halfback::testing
