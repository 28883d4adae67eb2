// Pareto fronts: what nothing else beats in both of two costs.
#pragma once

#include <cstddef>
#include <vector>

namespace halfback {

// Smaller is better: total FLOPs, and time.
struct CostPoint {
  double compute = 0.0;
  double time = 0.0;
};

// Returns the indices of the points that no other point equals or beats in both costs and beats in
// one, in ascending order of compute. Of equal points the first counts.
std::vector<std::size_t> pareto_front(const std::vector<CostPoint>& points);

}  // namespace halfback
