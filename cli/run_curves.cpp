#include "cli/run_curves.h"

#include "halfback/base/file.h"
#include "halfback/base/json.h"

#include <nlohmann/json.hpp>

#include <limits>
#include <string_view>

namespace halfback::cli {

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
      curve.add(step->get<std::int64_t>(), found->is_number()
                                               ? found->get<double>()
                                               : std::numeric_limits<double>::quiet_NaN());
    }
  };
  take("loss", charts_[0].curves[0]);
  take("validation_loss", charts_[0].curves[1]);
  take("learning_rate", charts_[1].curves[0]);
  take(speed_key_, charts_[2].curves[0]);
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
