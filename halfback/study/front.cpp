#include "halfback/study/front.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <tuple>

namespace halfback {

std::vector<std::size_t> pareto_front(const std::vector<CostPoint>& points) {
  std::vector<std::size_t> order(points.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(
      order, {}, [&](std::size_t i) { return std::tuple(points[i].compute, points[i].time, i); });
  std::vector<std::size_t> front;
  double least_time = std::numeric_limits<double>::infinity();
  for (const std::size_t i : order) {
    if (points[i].time < least_time) {
      least_time = points[i].time;
      front.push_back(i);
    }
  }
  return front;
}

}  // namespace halfback
