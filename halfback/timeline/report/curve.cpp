#include "halfback/timeline/report/curve.h"

#include "halfback/base/error.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace halfback {

namespace {

CurvePoint point_of(std::int64_t step, double value) {
  CurvePoint point{.first_step = step, .last_step = step, .num_values = 1};
  if (std::isfinite(value)) {
    point.least = point.most = point.sum = value;
  } else {
    point.num_not_finite = 1;
  }
  return point;
}

void append(CurvePoint& point, const CurvePoint& next) {
  point.last_step = next.last_step;
  point.num_values += next.num_values;
  point.num_not_finite += next.num_not_finite;
  point.least = std::min(point.least, next.least);
  point.most = std::max(point.most, next.most);
  point.sum += next.sum;
}

nlohmann::json to_json(const Curve& curve) {
  nlohmann::json points = nlohmann::json::array();
  for (const CurvePoint& point : curve.points()) {
    if (point.num_values == 1) {
      points.push_back({point.first_step, point.mean()});
    } else {
      points.push_back({point.first_step, point.last_step, point.mean(), point.least, point.most,
                        point.num_not_finite});
    }
  }
  return {{"name", curve.name()},
          {"values_per_point", curve.values_per_point()},
          {"points", std::move(points)}};
}

}  // namespace

double CurvePoint::mean() const { return sum / static_cast<double>(num_values - num_not_finite); }

Curve::Curve(std::string name, std::size_t max_points)
    : name_(std::move(name)), max_points_(max_points) {
  HALFBACK_CHECK(max_points >= 2, std::to_string(max_points));
}

void Curve::add(std::int64_t step, double value) {
  last_ = point_of(step, value);
  if (points_.empty()) {
    first_ = last_;
  }
  const auto is_full = [&] {
    return points_.empty() || points_.back().num_values == values_per_point_;
  };
  if (is_full() && points_.size() == max_points_) {
    merge_pairs();
  }
  if (is_full()) {
    points_.push_back(last_);
  } else {
    append(points_.back(), last_);
  }
}

std::vector<CurvePoint> Curve::points() const {
  std::vector<CurvePoint> points = points_;
  if (values_per_point_ > 1) {
    points.insert(points.begin(), first_);
    points.push_back(last_);
  }
  return points;
}

void Curve::merge_pairs() {
  for (std::size_t i = 1; i < points_.size(); i += 2) {
    append(points_[i - 1], points_[i]);
    points_[i / 2] = points_[i - 1];
  }
  if (points_.size() % 2 == 1) {
    points_[points_.size() / 2] = points_.back();
  }
  points_.resize((points_.size() + 1) / 2);
  values_per_point_ *= 2;
}

nlohmann::json to_json(const Chart& chart) {
  nlohmann::json curves = nlohmann::json::array();
  for (const Curve& curve : chart.curves) {
    if (!curve.points().empty()) {
      curves.push_back(to_json(curve));
    }
  }
  return {{"title", chart.title},
          {"unit", chart.unit},
          {"starts_at_zero", chart.starts_at_zero},
          {"curves", std::move(curves)}};
}

}  // namespace halfback
