// What several seeds say together.
#pragma once

#include <cstdint>
#include <vector>

namespace halfback {

struct Summary {
  int count = 0;  // of values; without any, the numbers are 0
  double median = 0.0;
  double lower_quartile = 0.0;
  double upper_quartile = 0.0;
  // The interval of the median at 95 %: percentiles 2.5 and 97.5 of the medians of kNumResamples
  // samples, drawn with replacement and by key (Efron, "Bootstrap methods: another look at the
  // jackknife", Ann. Stat. 7, 1979). With few values it is rough: never wider than their range.
  double interval_low = 0.0;
  double interval_high = 0.0;
};

inline constexpr int kNumResamples = 2000;

Summary summarize(const std::vector<double>& values, std::uint64_t key);

// Returns which value stands at each place of a resample: the part of summarize() that is drawn.
std::vector<std::size_t> resample(std::size_t num_values, int number, std::uint64_t key);

}  // namespace halfback
