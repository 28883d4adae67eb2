#include "halfback/layers/usual_parameters.h"

#include <utility>

namespace halfback {

Parameter bias_parameter(std::string name, std::int64_t size, std::vector<NamedRows> rows) {
  return {.name = std::move(name),
          .shape = {size},
          .init = {},
          .decays = false,
          .checkpoint_rows = std::move(rows)};
}

Parameter scale_parameter(std::string name, std::int64_t size) {
  return {.name = std::move(name), .shape = {size}, .init = {.mean = 1.0}, .decays = false};
}

}  // namespace halfback
