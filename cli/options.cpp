#include "cli/options.h"

#include "halfback/base/error.h"
#include "halfback/base/text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

namespace halfback::cli {

void ScheduleOptions::add_to(CLI::App& verb, const std::string& source_option) {
  add_option(verb, source_option.empty() ? "schedule" : source_option, source, "NAME|FILE",
             "Name of a family ('halfback schedule list'), or a CSV file")
      ->required(source_option.empty());
  add_option(verb, "--ranks", num_ranks, "N", "Ranks (a family: 4; a file: its own)");
  add_option(verb, "--micro-batches", num_micro_batches, "M",
             "Micro-batches of a step (a family: as its name says, else one a rank)");
  add_option(verb, "--two-stage", two_stage, "on|off",
             "Backward split into I and W, on or off (a family: on; a file: its own)");
  add_option(verb, "--stages-per-rank", stages_per_rank, "V",
             "Stages on each rank, for the looped and the wave families");
  add_option(verb, "--group-size", group_size, "G",
             "Micro-batches that pass one stage of a rank before its next, for gis (N)");
  add_option(verb, "--memory-limit", memory_limit, "K",
             "Micro-batches that a rank may hold until their W, counted on 1/N of the model, "
             "for the families that search within a limit (N)");
  add_option(verb, "--released-at-input", released_at_input, "PART",
             "Part of that memory that I frees, 0 to 1 (0)");
  add_option(verb, "--data-parallel", num_pipelines, "D",
             "Pipelines that share a step, each with a replica of the weights, its --ranks and "
             "its --micro-batches (1)");
  add_local_options(verb);
}

void ScheduleOptions::add_local_options(CLI::App& verb) {
  add_option(verb, "--stage-updates", stage_updates, "on|off",
             "Update each stage right after its own last weight gradient, on or off (families "
             "of local updates: on; others: off; a file: its own)");
  add_option(verb, "--chunks", chunks, "K",
             "Chunks of stages with a loss each, for local-chunked (2)");
  add_option(verb, "--window", window, "W",
             "Stages that the gradient of a loss passes, for local-overlapping (2)");
  add_option(verb, "--distance", distance, "D",
             "Stages above, whose loss a stage trains by, for local-interlocking (1)");
  add_option(verb, "--trained", trained, "K", "Last stages that train, for local-last (1)");
}

Schedule ScheduleOptions::load(bool verifies, const ShareTimes& times) const {
  ShapeRequest request{.num_ranks = num_ranks,
                       .num_micro_batches = num_micro_batches,
                       .stages_per_rank = stages_per_rank,
                       .group_size = group_size,
                       .memory_limit = memory_limit,
                       .released_at_input = released_at_input,
                       .chunks = chunks,
                       .window = window,
                       .distance = distance,
                       .trained = trained,
                       .num_pipelines = num_pipelines,
                       .times = times,
                       .verifies = verifies};
  if (!two_stage.empty()) {
    request.two_stage = is_on("--two-stage", two_stage);
  }
  if (!stage_updates.empty()) {
    request.stage_updates = is_on("--stage-updates", stage_updates);
  }
  return load_or_build(source, request);
}

void FormatOption::add_to(CLI::App& verb,
                          std::vector<std::string> formats,
                          const std::string& help) {
  formats_ = std::move(formats);
  add_option(verb, "--format", format_, "FORMAT", fmt::format("{} ({})", help, formats_.front()));
  verb.add_flag("--json", is_json_, "Print JSON, as --format json does");
}

std::string FormatOption::name() const {
  if (is_json_ && !format_.empty() && format_ != "json") {
    throw ConfigError(
        fmt::format("--json beside --format {}; expected one of them; leave one out", format_));
  }
  if (is_json_ || format_.empty()) {
    return is_json_ ? "json" : formats_.front();
  }
  require_choice("--format", format_, formats_);
  return format_;
}

bool is_on(const std::string& option, const std::string& value) {
  require_choice(option, value, {"on", "off"});
  return value == "on";
}

void require_choice(const std::string& option,
                    const std::string& value,
                    const std::vector<std::string>& choices) {
  if (std::find(choices.begin(), choices.end(), value) == choices.end()) {
    throw ConfigError(fmt::format("{}: '{}' is not known{}; expected {}", option,
                                  value.substr(0, 40), suggestion(value.substr(0, 40), choices),
                                  fmt::join(choices, ", ")));
  }
}

std::string headline(const Schedule& schedule) {
  const auto count = [](int number, const char* one, const char* many) {
    return fmt::format("{} {}", number, number == 1 ? one : many);
  };
  const int num_replicas = schedule.placement.num_replicas();
  return fmt::format("{}: {}, {}, {}, {}backward in {}", schedule.name,
                     count(schedule.num_ranks(), "rank", "ranks"),
                     count(schedule.num_stages(), "stage", "stages"),
                     count(schedule.num_micro_batches, "micro-batch", "micro-batches"),
                     num_replicas > 1 ? fmt::format("{} replicas, ", num_replicas) : "",
                     is_two_stage(schedule) ? "two stages" : "one");
}

}  // namespace halfback::cli
