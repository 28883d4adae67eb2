// A number over the steps of a run, in bounded memory: when all points are in use, neighbors merge
// into one point, which keeps the range and the mean of its values. So a spike of one step in
// 100,000 remains visible. The page draws curves as charts.
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
  std::int64_t num_not_finite = 0;  // not included in the numbers below
  double least = std::numeric_limits<double>::infinity();
  double most = -std::numeric_limits<double>::infinity();
  double sum = 0.0;

  // Returns the mean of the finite values; NaN without any.
  double mean() const;
};

class Curve {
 public:
  // `name` is shown in the chart's legend; `max_points` is at least 2.
  explicit Curve(std::string name, std::size_t max_points = 1000);

  // Steps ascend. The value may be NaN or infinite.
  void add(std::int64_t step, double value);

  const std::string& name() const { return name_; }
  std::int64_t values_per_point() const { return values_per_point_; }  // a power of two
  // Returns the points in ascending order. If points cover several values, the first and the last
  // value are repeated at the ends as single points.
  std::vector<CurvePoint> points() const;

 private:
  void merge_pairs();

  std::string name_;
  std::size_t max_points_;
  std::int64_t values_per_point_ = 1;  // for all points but the last, which may still grow
  std::vector<CurvePoint> points_;
  CurvePoint first_;
  CurvePoint last_;
};

// Curves on one pair of axes.
struct Chart {
  std::string title;
  std::string unit = "";        // of all values; "" for none
  bool starts_at_zero = false;  // the value axis; otherwise it fits the values
  std::vector<Curve> curves = {};
};

// Returns {"title", "unit", "starts_at_zero", "curves"}; each curve as {"name", "values_per_point",
// "points"}, each point as [step, value], or, if it covers several values, as [first step, last
// step, mean, least, most, number of values that are not finite]. Numbers that are not finite
// become null. Curves without points are left out.
nlohmann::json to_json(const Chart& chart);

}  // namespace halfback
