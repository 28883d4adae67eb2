// A number over the steps of a run, in memory that does not grow with their count: when all points
// are in use, neighbors merge into one, which keeps the range and the mean of its values. So a
// spike of one step in 100,000 remains visible. The page draws curves as charts.
#pragma once

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace halfback {

// A point of a curve: one value, or several in a row.
struct CurvePoint {
  std::int64_t first_step = 0;
  std::int64_t last_step = 0;
  std::int64_t num_values = 0;
  std::int64_t num_not_finite = 0;  // of them; not counted in the numbers below
  double least = std::numeric_limits<double>::infinity();
  double most = -std::numeric_limits<double>::infinity();
  double sum = 0.0;

  // Returns the mean of the finite values; NaN without any.
  double mean() const;
};

class Curve {
 public:
  // `name` is for the legend of the chart. At least two points.
  explicit Curve(std::string name, std::size_t max_points = 1000);

  // Steps ascend. The value may be NaN or infinite.
  void add(std::int64_t step, double value);

  const std::string& name() const { return name_; }
  std::int64_t values_per_point() const { return values_per_point_; }  // a power of two
  // Returns the points in ascending order. If a point stands for several values, the first and the
  // last value are repeated at the ends as single points.
  std::vector<CurvePoint> points() const;

 private:
  void merge_pairs();

  std::string name_;
  std::size_t max_points_;
  std::int64_t values_per_point_ = 1;  // of all but the last, which may still grow
  std::vector<CurvePoint> points_;
  CurvePoint first_;
  CurvePoint last_;
};

// Curves on one pair of axes.
struct Chart {
  std::string title;
  std::string unit = "";        // of all values; "" for none
  bool starts_at_zero = false;  // the axis of values, which else fits them
  std::vector<Curve> curves = {};
};

// Returns {"title", "unit", "starts_at_zero", "curves"}; each curve as {"name", "values_per_point",
// "points"}, each point as [step, value], or of several values as [first step, last step, mean,
// least, most, number of those that are not finite]. Numbers that are not finite become null.
// Curves without points are left out.
nlohmann::json to_json(const Chart& chart);

}  // namespace halfback
