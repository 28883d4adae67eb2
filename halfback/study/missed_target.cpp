#include "halfback/study/missed_target.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <functional>
#include <optional>

namespace halfback {

namespace {

using Json = nlohmann::json;
using Better = std::function<bool(double, double)>;

struct Part {
  std::optional<double> target;
  std::string name;
  const char* curve;
  Better is_better;
};

std::string run_text(const Json& row) {
  std::vector<Setting> place;
  for (const Json& entry : row.at("place")) {
    place.push_back({entry.at(0), entry.at(1)});
  }
  return fmt::format("run {}{}{}", row.at("run").get<int>(), place.empty() ? "" : ": ",
                     place_text(place));
}

// Returns "0.8931 (run 7: seed 2)", or nothing without a validation.
std::string best_text(const std::vector<Json>& rows, const Part& part) {
  std::optional<double> best;
  std::string run;
  for (const Json& row : rows) {
    for (const Json& value : row.at("curve").at(part.curve)) {
      if (value.is_number() && (!best || part.is_better(value, *best))) {
        best = value.get<double>();
        run = run_text(row);
      }
    }
  }
  return best ? fmt::format("{:.4g} ({})", *best, run) : "";
}

}  // namespace

std::string missed_target(const std::vector<Json>& rows, const StudyTarget& target) {
  if (!target.is_any() || rows.empty() ||
      std::ranges::any_of(rows, [](const Json& row) { return row.at("status") == "complete"; })) {
    return "";
  }
  std::vector<std::string> wanted;
  std::vector<std::string> best;
  for (const Part& part :
       {Part{target.validation_loss, "validation loss", "validation_loss", std::less<>()},
        Part{target.validation_accuracy, "validation accuracy", "validation_accuracy",
             std::greater<>()}}) {
    if (!part.target) {
      continue;
    }
    wanted.push_back(fmt::format("{} {}", part.name, *part.target));
    if (const std::string text = best_text(rows, part); !text.empty()) {
      best.push_back(text);
    }
  }
  return fmt::format("no run reached {}{}{}\n", fmt::join(wanted, " with "),
                     best.empty() ? "" : "; the best had ", fmt::join(best, " and "));
}

}  // namespace halfback
