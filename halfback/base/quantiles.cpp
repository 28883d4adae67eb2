#include "halfback/base/quantiles.h"

#include <algorithm>
#include <cstddef>

namespace halfback {

double median(std::vector<double> values) {
  if (values.empty()) {
    return 0.0;
  }
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : 0.5 * (values[half - 1] + values[half]);
}

double quartile_spread(std::vector<double> values) {
  if (values.empty()) {
    return 0.0;
  }
  std::sort(values.begin(), values.end());
  const std::size_t quarter = values.size() / 4;
  return 0.5 * (values[values.size() - 1 - quarter] - values[quarter]);
}

}  // namespace halfback
