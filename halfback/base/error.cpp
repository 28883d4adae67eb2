#include "halfback/base/error.h"

#include <fmt/format.h>

namespace halfback::detail {

void check_failed(const char* expression, const char* file, int line, const std::string& values) {
  throw std::logic_error(
      fmt::format("{}:{}: {} does not hold: {}", file, line, expression, values));
}

}  // namespace halfback::detail
