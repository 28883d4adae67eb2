// Prints numbers of halfback/study/ as JSON, for tests/python/study_numbers.py to compare.
#include "halfback/study/scaling_fit.h"
#include "halfback/study/sobol.h"
#include "halfback/study/summary.h"

#include <nlohmann/json.hpp>

#include <cmath>
#include <iostream>

int main() {
  using namespace halfback;
  nlohmann::json numbers;
  for (std::uint32_t index = 0; index < 512; ++index) {
    numbers["sobol"].push_back(sobol_point(index, kMaxSobolDimensions));
  }
  for (const std::size_t count : {1U, 2U, 5U, 24U}) {
    std::vector<double> values;
    for (std::size_t i = 0; i < count; ++i) {
      values.push_back(std::sin(static_cast<double>(i * i)) * 10.0);
    }
    std::vector<std::vector<std::size_t>> resamples;
    for (int number = 0; number < kNumResamples; ++number) {
      resamples.push_back(resample(count, number, 7));
    }
    const Summary found = summarize(values, 7);
    numbers["summaries"].push_back({{"values", values},
                                    {"resamples", resamples},
                                    {"median", found.median},
                                    {"quartiles", {found.lower_quartile, found.upper_quartile}},
                                    {"interval", {found.interval_low, found.interval_high}}});
  }
  for (const double noise : {0.0, 0.05, 0.5}) {
    std::vector<ScalingPoint> points;
    nlohmann::json& fit = numbers["fits"].emplace_back();
    for (double batch = 1.0; batch <= 1024.0; batch *= 2.0) {
      points.push_back(
          {batch, (9000.0 / batch + 120.0) * (1.0 + noise * std::sin(7.0 * std::log(batch)))});
      fit["batches"].push_back(points.back().batch);
      fit["steps"].push_back(points.back().steps);
    }
    const ScalingFit found = fit_scaling(points);
    fit["c1"] = found.c1;
    fit["c2"] = found.c2;
    fit["r_squared"] = found.r_squared;
    fit["first_slope"] = found.first_slope;
  }
  std::cout << numbers.dump() << '\n';
}
