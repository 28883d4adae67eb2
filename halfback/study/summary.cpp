#include "halfback/study/summary.h"

#include "halfback/base/keyed_random.h"
#include "halfback/base/quantiles.h"

#include <algorithm>

namespace halfback {

std::vector<std::size_t> resample(std::size_t num_values, int number, std::uint64_t key) {
  std::vector<std::size_t> places(num_values);
  for (std::size_t i = 0; i < num_values; ++i) {
    const std::uint64_t hash =
        keyed_hash(Purpose::Resample, {key, static_cast<std::uint64_t>(number), i});
    places[i] = static_cast<std::size_t>(to_unit_interval(hash) * static_cast<double>(num_values));
  }
  return places;
}

Summary summarize(const std::vector<double>& values, std::uint64_t key) {
  if (values.empty()) {
    return {};
  }
  std::vector<double> medians;
  for (int number = 0; number < kNumResamples; ++number) {
    std::vector<double> sample;
    for (const std::size_t place : resample(values.size(), number, key)) {
      sample.push_back(values[place]);
    }
    medians.push_back(median(std::move(sample)));
  }
  return {.count = static_cast<int>(values.size()),
          .median = median(values),
          .lower_quartile = quantile(values, 0.25),
          .upper_quartile = quantile(values, 0.75),
          .interval_low = quantile(medians, 0.025),
          .interval_high = quantile(medians, 0.975)};
}

}  // namespace halfback
