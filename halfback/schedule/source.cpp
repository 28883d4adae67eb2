#include "halfback/schedule/source.h"

#include "halfback/base/error.h"
#include "halfback/schedule/csv.h"
#include "halfback/schedule/families.h"
#include "halfback/schedule/passes.h"
#include "halfback/schedule/validate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

namespace halfback {

namespace {

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
  if (!request.parameters.empty()) {
    std::vector<std::string> options;
    for (const auto& [row, value] : request.parameters) {
      options.push_back(row->option);
    }
    throw ConfigError(
        fmt::format("{}: a file has its own stages, order, losses and updates; leave {} out", file,
                    fmt::join(options, ", ")));
  }
  Schedule schedule = load_schedule(file);
  if (request.verifies) {
    validate(schedule, {.where = file});
  }
  require_same(file, "ranks", schedule.num_ranks(), request.num_ranks);
  require_same(file, "micro-batches", schedule.num_micro_batches, request.num_micro_batches);
  if (request.two_stage && *request.two_stage != is_two_stage(schedule)) {
    throw ConfigError(fmt::format(
        "{}: the file has the {} backward, but --two-stage {} was asked for; leave the option out",
        file, is_two_stage(schedule) ? "split" : "fused", *request.two_stage ? "on" : "off"));
  }
  if (schedule.name.empty()) {
    schedule.name = std::filesystem::path(file).stem().string();
  }
  return schedule;
}

Schedule one_pipeline(const std::string& name_or_file, const ShapeRequest& request) {
  const std::vector<std::string> names = family_names();
  if (std::ranges::find(names, name_or_file) == names.end() && names_file(name_or_file)) {
    return load(name_or_file, request);
  }
  const Family& one = family(name_or_file);
  const int num_ranks = request.num_ranks.value_or(kDefaultRanks);
  PipelineShape shape{
      .num_ranks = num_ranks,
      .num_micro_batches = request.num_micro_batches.value_or(one.default_micro_batches(num_ranks)),
      .two_stage = request.two_stage.value_or(true),
      .times = request.times};
  for (const auto& [row, value] : request.parameters) {
    one.require_admitted(*row, value, shape);
    row->set(shape, value);
  }
  return one.build(shape);
}

}  // namespace

Schedule load_or_build(const std::string& name_or_file, const ShapeRequest& request) {
  return data_parallel(one_pipeline(name_or_file, request), request.num_pipelines);
}

}  // namespace halfback
