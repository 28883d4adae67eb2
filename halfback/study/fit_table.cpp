#include "halfback/study/fit_table.h"

#include "halfback/base/quantiles.h"
#include "halfback/base/text.h"
#include "halfback/study/study_table.h"
#include "halfback/study/summary.h"
#include "halfback/study/text_table.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <map>
#include <utility>

namespace halfback {

namespace {

constexpr const char* kBatchAxis = "batch-size";
constexpr const char* kSparsityAxis = "sparsity";

using Place = std::vector<Setting>;

// Takes an axis out of a place. Returns its value, if that is a number.
std::optional<double> take_number(Place& place, const std::string& axis) {
  const auto found = std::ranges::find(place, axis, &Setting::option);
  if (found == place.end()) {
    return std::nullopt;
  }
  const std::optional<double> value = parse_number(found->value);
  place.erase(found);
  return value;
}

// A line and, at each of its points, the steps of all seeds.
struct Group {
  FitLine line;
  std::vector<std::vector<double>> seeds;
};

std::vector<Group> groups_of(const std::vector<nlohmann::json>& rows) {
  std::vector<Group> groups;
  std::map<Place, std::size_t> found;
  std::vector<std::map<double, const StudyLine*>> by_batch;
  const std::vector<StudyLine> lines = lines_of(rows);
  for (const StudyLine& line : lines) {
    Place place = line.place;
    const std::optional<double> batch = take_number(place, kBatchAxis);
    if (!batch || *batch <= 0.0) {
      continue;
    }
    const auto [entry, is_new] = found.emplace(place, groups.size());
    if (is_new) {
      groups.emplace_back().line.place = place;
      by_batch.emplace_back();
    }
    if (line.steps.count > 0) {
      by_batch[entry->second][*batch] = &line;
    }
  }
  for (std::size_t i = 0; i < groups.size(); ++i) {
    for (const auto& [batch, line] : by_batch[i]) {
      groups[i].line.points.push_back({batch, line->steps.median});
      groups[i].seeds.push_back(line->seed_steps);
    }
  }
  return groups;
}

FitInterval interval_of(const std::vector<double>& values) {
  return {quantile(values, 0.025), quantile(values, 0.975)};
}

void add_fit(Group& group) {
  FitLine& line = group.line;
  if (line.points.size() < 3) {
    return;
  }
  line.fit = fit_scaling(line.points);
  std::vector<double> c1;
  std::vector<double> c2;
  for (int number = 0; number < kNumResamples; ++number) {
    std::vector<ScalingPoint> points = line.points;
    for (std::size_t i = 0; i < points.size(); ++i) {
      std::vector<double> sample;
      for (const std::size_t place : resample(group.seeds[i].size(), number, 0)) {
        sample.push_back(group.seeds[i][place]);
      }
      points[i].steps = median(std::move(sample));
    }
    const ScalingFit fit = fit_scaling(points);
    c1.push_back(fit.c1);
    c2.push_back(fit.c2);
  }
  line.c1 = interval_of(c1);
  line.c2 = interval_of(c2);
}

void add_ratios(std::vector<FitLine>& lines) {
  std::map<Place, ScalingFit> dense;
  for (const FitLine& line : lines) {
    Place place = line.place;
    if (line.fit && take_number(place, kSparsityAxis) == 0.0) {
      dense.emplace(place, *line.fit);
    }
  }
  for (FitLine& line : lines) {
    Place place = line.place;
    const auto other = take_number(place, kSparsityAxis) ? dense.find(place) : dense.end();
    if (line.fit && other != dense.end()) {
      line.c1_ratio = line.fit->c1 / other->second.c1;
      line.c2_ratio = line.fit->c2 / other->second.c2;
    }
  }
}

using Cell = std::function<std::string(const FitLine&)>;
using Number = std::function<std::optional<double>(const FitLine&)>;

// Of a line that has a fit.
template <typename Of>
Number of_fit(Of of) {
  return [of](const FitLine& line) {
    return line.fit ? std::optional<double>(of(line)) : std::nullopt;
  };
}

const std::vector<std::pair<const char*, Number>>& numbers() {
  static const std::vector<std::pair<const char*, Number>> kNumbers = {
      {"c1", of_fit([](const FitLine& line) { return line.fit->c1; })},
      {"c1 low", of_fit([](const FitLine& line) { return line.c1.low; })},
      {"c1 high", of_fit([](const FitLine& line) { return line.c1.high; })},
      {"c2", of_fit([](const FitLine& line) { return line.fit->c2; })},
      {"c2 low", of_fit([](const FitLine& line) { return line.c2.low; })},
      {"c2 high", of_fit([](const FitLine& line) { return line.c2.high; })},
      {"R^2", of_fit([](const FitLine& line) { return line.fit->r_squared; })},
      {"first slope", of_fit([](const FitLine& line) { return line.fit->first_slope; })},
      {"knee", of_fit([](const FitLine& line) { return line.fit->knee(); })},
      {"c1 / dense", [](const FitLine& line) { return line.c1_ratio; }},
      {"c2 / dense", [](const FitLine& line) { return line.c2_ratio; }}};
  return kNumbers;
}

std::vector<TableColumn> columns_of(const std::vector<FitLine>& lines, const char* format) {
  std::vector<TableColumn> columns;
  const auto add = [&](const std::string& title, const Cell& cell) {
    std::ranges::transform(lines, std::back_inserter(columns.emplace_back(TableColumn{title})),
                           cell);
  };
  for (std::size_t axis = 0; axis < lines.front().place.size(); ++axis) {
    add(lines.front().place[axis].option,
        [axis](const FitLine& line) { return line.place[axis].value; });
  }
  add("batches", [](const FitLine& line) { return std::to_string(line.points.size()); });
  for (const auto& [title, of] : numbers()) {
    add(title, [&of = of, format](const FitLine& line) {
      const std::optional<double> value = of(line);
      return value ? fmt::format(fmt::runtime(format), *value) : "";
    });
  }
  return columns;
}

}  // namespace

std::vector<FitLine> fits_of(const std::vector<nlohmann::json>& rows) {
  std::vector<FitLine> lines;
  for (Group& group : groups_of(rows)) {
    add_fit(group);
    lines.push_back(std::move(group.line));
  }
  if (std::ranges::none_of(lines, [](const FitLine& line) { return line.fit.has_value(); })) {
    return {};
  }
  add_ratios(lines);
  return lines;
}

std::string fit_text(const std::vector<FitLine>& lines) {
  return lines.empty() ? ""
                       : "steps to the target = c1 / batch size + c2; both parts are equal at the "
                         "knee\n" +
                             aligned_text(columns_of(lines, "{:.4g}"));
}

std::string fit_csv(const std::vector<FitLine>& lines) {
  return lines.empty() ? "" : csv_text(columns_of(lines, "{}"));
}

nlohmann::json fit_json(const std::vector<FitLine>& lines) {
  nlohmann::json all = nlohmann::json::array();
  for (const FitLine& line : lines) {
    if (!line.fit) {
      continue;
    }
    nlohmann::json place = nlohmann::json::array();
    for (const auto& [axis, label] : line.place) {
      place.push_back(nlohmann::json::array({axis, label}));
    }
    all.push_back({{"place", place},
                   {"low", line.points.front().batch},
                   {"high", line.points.back().batch},
                   {"c1", line.fit->c1},
                   {"c2", line.fit->c2},
                   {"knee", line.fit->knee()}});
  }
  return all;
}

}  // namespace halfback
