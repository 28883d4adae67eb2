// The median and other quantiles of measured values, and their spread.
#pragma once

#include <vector>

namespace halfback {

// Returns the median of the values; 0 without values.
double median(std::vector<double> values);

// Returns the value below which a part of the values lies, `fraction` from 0 to 1, between two
// values in proportion (as NumPy's quantile); 0 without values.
double quantile(std::vector<double> values, double fraction);

// Returns half the distance between the quartiles or, with fewer than four values, between the
// smallest and the largest; 0 without values.
double quartile_spread(std::vector<double> values);

}  // namespace halfback
