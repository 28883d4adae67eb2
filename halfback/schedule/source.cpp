#include "halfback/schedule/source.h"

#include "halfback/base/error.h"
#include "halfback/schedule/csv.h"
#include "halfback/schedule/families.h"
#include "halfback/schedule/validate.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

namespace halfback {

namespace {

constexpr int kDefaultRanks = 4;

bool names_file(const std::string& text) {
  std::error_code error;
  return text.ends_with(".csv") || text.find('/') != std::string::npos ||
         std::filesystem::is_regular_file(text, error);
}

void require_same(const std::string& file, const char* what, int found, std::optional<int> asked) {
  if (asked && *asked != found) {
    throw ConfigError(
        fmt::format("{}: the file has {} {}, but {} were asked for; leave the option "
                    "out or give {}",
                    file, found, what, *asked, found));
  }
}

Schedule load(const std::string& file, const ShapeRequest& request) {
  Schedule schedule = load_schedule(file);
  if (request.verifies) {
    validate(schedule, {.where = file});
  }
  require_same(file, "ranks", schedule.num_ranks(), request.num_ranks);
  require_same(file, "micro-batches", schedule.num_micro_batches, request.num_micro_batches);
  if (request.two_stage && *request.two_stage != is_two_stage(schedule)) {
    throw ConfigError(fmt::format(
        "{}: the file has its backward {}, but --two-stage {} was asked for; leave the option out",
        file, is_two_stage(schedule) ? "in two stages" : "in one",
        *request.two_stage ? "on" : "off"));
  }
  if (schedule.name.empty()) {
    schedule.name = std::filesystem::path(file).stem().string();
  }
  return schedule;
}

}  // namespace

Schedule load_or_build(const std::string& name_or_file, const ShapeRequest& request) {
  const std::vector<Family>& all = families();
  const auto family =
      std::find_if(all.begin(), all.end(), [&](const Family& f) { return f.name == name_or_file; });
  if (family == all.end() && names_file(name_or_file)) {
    return load(name_or_file, request);
  }
  PipelineShape shape{.num_ranks = request.num_ranks.value_or(kDefaultRanks),
                      .num_micro_batches = request.num_micro_batches.value_or(1),
                      .two_stage = request.two_stage.value_or(true)};
  if (family != all.end() && !request.num_micro_batches) {
    shape.num_micro_batches = family->default_micro_batches(shape.num_ranks);
  }
  return build_schedule(name_or_file, shape);
}

}  // namespace halfback
