// How the steps to a result fall as the batch grows: K(B) = c1 / B + c2. Steps halve as the batch
// doubles while c1 / B is the larger part, and stop falling at c2; both are as large at the knee.
// Source of the form: Lee, Ajanthan, Torr, Jaggi, "Understanding the Effects of Data Parallelism
// and Sparsity on Neural Network Training", ICLR 2021.
#pragma once

#include <vector>

namespace halfback {

struct ScalingPoint {
  double batch = 1.0;
  double steps = 1.0;
};

struct ScalingFit {
  double c1 = 0.0;
  double c2 = 0.0;
  double r_squared = 0.0;  // of the fit by least squares in 1 / B
  // Slope of log steps over log batch between the smallest batches; -1: perfect scaling.
  double first_slope = 0.0;

  // Returns the batch at which both parts are equal; infinite without a floor.
  double knee() const;
};

// Fits at least three points with batches above 0 that ascend. Throws ConfigError for fewer.
// `num_first` batches, at least two, make the first slope.
ScalingFit fit_scaling(const std::vector<ScalingPoint>& points, int num_first = 3);

}  // namespace halfback
