#include "halfback/transport/exchange.h"

#include <fmt/format.h>

namespace halfback {

std::string to_string(const ExchangeName& name) {
  return fmt::format("{} of {}", name.operation, name.group ? *name.group : "a group");
}

}  // namespace halfback
