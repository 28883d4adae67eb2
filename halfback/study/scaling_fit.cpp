#include "halfback/study/scaling_fit.h"

#include "halfback/base/error.h"

#include <fmt/format.h>

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>

namespace halfback {

namespace {

struct Line {
  double slope = 0.0;
  double start = 0.0;
  double r_squared = 0.0;
};

// By least squares, around the means, so that nothing cancels.
Line fit_line(std::span<const double> x, std::span<const double> y) {
  const auto count = static_cast<double>(x.size());
  double mean_x = 0.0;
  double mean_y = 0.0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    mean_x += x[i] / count;
    mean_y += y[i] / count;
  }
  double xx = 0.0;
  double xy = 0.0;
  double yy = 0.0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    xx += (x[i] - mean_x) * (x[i] - mean_x);
    xy += (x[i] - mean_x) * (y[i] - mean_y);
    yy += (y[i] - mean_y) * (y[i] - mean_y);
  }
  const double slope = xy / xx;
  return {slope, mean_y - slope * mean_x, yy > 0.0 ? slope * xy / yy : 1.0};
}

}  // namespace

double ScalingFit::knee() const {
  return c2 > 0.0 ? c1 / c2 : std::numeric_limits<double>::infinity();
}

ScalingFit fit_scaling(const std::vector<ScalingPoint>& points, int num_first) {
  if (points.size() < 3) {
    throw ConfigError(fmt::format(
        "a fit of steps over batch sizes needs three batch sizes that reach the result; {} do",
        points.size()));
  }
  std::vector<double> inverse;
  std::vector<double> steps;
  std::vector<double> log_batch;
  std::vector<double> log_steps;
  for (const ScalingPoint& point : points) {
    inverse.push_back(1.0 / point.batch);
    steps.push_back(point.steps);
    log_batch.push_back(std::log(point.batch));
    log_steps.push_back(std::log(point.steps));
  }
  const Line line = fit_line(inverse, steps);
  const auto first = static_cast<std::size_t>(num_first);
  return {.c1 = line.slope,
          .c2 = line.start,
          .r_squared = line.r_squared,
          .first_slope = fit_line({log_batch.data(), first}, {log_steps.data(), first}).slope};
}

}  // namespace halfback
