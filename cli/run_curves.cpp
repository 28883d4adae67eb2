#include "cli/run_curves.h"

#include "halfback/base/file.h"
#include "halfback/base/json.h"

#include <nlohmann/json.hpp>

#include <limits>
#include <string_view>

namespace halfback::cli {

namespace {

double number_of(const nlohmann::json& value) {
  return value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

RunCurves::RunCurves(const std::string& item_name)
    : speed_key_(item_name + "_per_second"),
      charts_{{.title = "Loss", .curves = {Curve("training"), Curve("validation")}},
              {.title = "Learning rate", .starts_at_zero = true, .curves = {Curve("")}},
              {.title = "Speed",
               .unit = item_name + "/s",
               .starts_at_zero = true,
               .curves = {Curve("")}}} {}

void RunCurves::add(const nlohmann::json& line) {
  const auto step = line.find("step");
  if (step == line.end() || !step->is_number_integer()) {
    return;
  }
  const auto take = [&](const std::string& key, Curve& curve) {
    if (const auto found = line.find(key); found != line.end()) {
      curve.add(step->get<std::int64_t>(), number_of(*found));
    }
  };
  if (const auto losses = line.find("losses"); losses != line.end() && losses->is_array()) {
    add_losses(step->get<std::int64_t>(), *losses);
  }
  take("loss", charts_[0].curves[0]);
  take("validation_loss", charts_[0].curves[1]);
  take("learning_rate", charts_[1].curves[0]);
  take(speed_key_, charts_[2].curves[0]);
}

// The last is that of the model, which has a chart of its own beside its validation.
void RunCurves::add_losses(std::int64_t step, const nlohmann::json& losses) {
  constexpr std::size_t kChart = 3;
  if (charts_.size() == kChart) {
    charts_.push_back({.title = "All losses"});
  }
  std::vector<Curve>& curves = charts_[kChart].curves;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    if (curves.size() == i) {
      curves.emplace_back(i + 1 == losses.size() ? "model" : "loss " + std::to_string(i + 1));
    }
    curves[i].add(step, number_of(losses[i]));
  }
}

void RunCurves::add_file(const std::filesystem::path& path) {
  const MappedFile file(path);
  std::string_view text = file.bytes();
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    add(parse_json(text.substr(0, end), path.string()));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
}

}  // namespace halfback::cli
