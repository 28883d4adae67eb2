// The median of measured values, and their spread.
#pragma once

#include <vector>

namespace halfback {

// Returns the median of the values; 0 without values.
double median(std::vector<double> values);

// Returns half the distance between the quartiles or, with fewer than four values, between the
// smallest and the largest; 0 without values.
double quartile_spread(std::vector<double> values);

}  // namespace halfback
