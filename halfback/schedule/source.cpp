#include "halfback/schedule/source.h"

#include "halfback/base/error.h"
#include "halfback/schedule/csv.h"
#include "halfback/schedule/families.h"
#include "halfback/schedule/passes.h"
#include "halfback/schedule/validate.h"

#include <fmt/format.h>

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

// Throws unless what was asked for, if anything, is above 0: in a shape 0 means not given.
template <typename T>
T positive(std::optional<T> asked, const char* option) {
  if (asked && !(*asked > T{0})) {
    throw ConfigError(fmt::format("{}: {}; it must be above 0", option, *asked));
  }
  return asked.value_or(T{0});
}

Schedule load(const std::string& file, const ShapeRequest& request) {
  if (request.stages_per_rank || request.group_size || request.memory_limit ||
      request.released_at_input) {
    throw ConfigError(fmt::format(
        "{}: a file has its own stages and order; leave --stages-per-rank, --group-size, "
        "--memory-limit and --released-at-input out",
        file));
  }
  if (request.chunks || request.window || request.distance || request.trained ||
      request.stage_updates) {
    throw ConfigError(fmt::format(
        "{}: a file has its own losses and updates; leave --chunks, --window, --distance, "
        "--trained and --stage-updates out",
        file));
  }
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

Schedule one_pipeline(const std::string& name_or_file, const ShapeRequest& request) {
  const std::vector<Family>& all = families();
  const auto family =
      std::find_if(all.begin(), all.end(), [&](const Family& f) { return f.name == name_or_file; });
  if (family == all.end() && names_file(name_or_file)) {
    return load(name_or_file, request);
  }
  PipelineShape shape{.num_ranks = request.num_ranks.value_or(kDefaultRanks),
                      .num_micro_batches = request.num_micro_batches.value_or(1),
                      .two_stage = request.two_stage.value_or(true),
                      .stages_per_rank = positive(request.stages_per_rank, "--stages-per-rank"),
                      .group_size = positive(request.group_size, "--group-size"),
                      .memory_limit = positive(request.memory_limit, "--memory-limit"),
                      .released_at_input = request.released_at_input.value_or(0.0),
                      .times = request.times,
                      .chunks = positive(request.chunks, "--chunks"),
                      .window = positive(request.window, "--window"),
                      .distance = positive(request.distance, "--distance"),
                      .trained = positive(request.trained, "--trained"),
                      .stage_updates = request.stage_updates};
  if (family != all.end() && !request.num_micro_batches) {
    shape.num_micro_batches = family->default_micro_batches(shape.num_ranks);
  }
  return build_schedule(name_or_file, shape);
}

}  // namespace

Schedule load_or_build(const std::string& name_or_file, const ShapeRequest& request) {
  return data_parallel(one_pipeline(name_or_file, request), request.num_pipelines);
}

}  // namespace halfback
