// The middle of measured values, and how far they scatter.
#pragma once

#include <vector>

namespace halfback {

// Returns the middle of the values; 0 of none.
double median(std::vector<double> values);

// Returns half the distance between the quartiles; of fewer than four values, between the least and
// the largest; 0 of none.
double quartile_spread(std::vector<double> values);

}  // namespace halfback
