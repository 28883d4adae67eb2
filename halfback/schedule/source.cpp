#include "halfback/schedule/source.h"

#include "halfback/base/error.h"
#include "halfback/base/text.h"
#include "halfback/schedule/csv.h"
#include "halfback/schedule/families.h"
#include "halfback/schedule/passes.h"
#include "halfback/schedule/queues.h"
#include "halfback/schedule/validate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <utility>

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
  std::vector<std::string> options;
  for (const auto& [row, value] : request.parameters) {
    options.push_back(row->option);
  }
  for (const auto& [option, value] : {std::pair("--losses", request.losses),
                                      {"--loss-weights", request.weight_rule},
                                      {"--queue", request.queues}}) {
    if (value) {
      options.emplace_back(option);
    }
  }
  if (!options.empty()) {
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

WeightRule asked_rule(const ShapeRequest& request, const Losses& own) {
  if (!request.weight_rule) {
    return own.weight_rule();
  }
  const std::optional<WeightRule> rule = parse_weight_rule(*request.weight_rule);
  if (!rule) {
    throw ConfigError(fmt::format(
        "--loss-weights: '{}' is not known{}; expected {}", request.weight_rule->substr(0, 40),
        suggestion(request.weight_rule->substr(0, 40), weight_rule_names()),
        fmt::join(weight_rule_names(), ", ")));
  }
  return *rule;
}

// Gives a schedule of a family the losses that were asked for.
Schedule with_asked_losses(const Schedule& schedule, const ShapeRequest& request) {
  const Losses& own = schedule.losses;
  const WeightRule rule = asked_rule(request, own);
  if (!request.losses) {
    if (own.is_backprop() && request.weight_rule) {
      throw ConfigError(fmt::format(
          "{}: one gradient passes each stage, so --loss-weights has nothing to choose from; give "
          "--losses too, or leave it out",
          schedule.name));
    }
    Schedule result = schedule;
    result.losses = own.is_backprop() ? own : Losses(schedule.num_stages(), own.reaches(), rule);
    return result;
  }
  if (!own.is_backprop()) {
    throw ConfigError(
        fmt::format("{}: the family has its own losses, {}; leave --losses out, or choose a family "
                    "of backprop",
                    schedule.name, brief_losses(own)));
  }
  return with_losses(schedule, read_losses(*request.losses, schedule.num_stages(), rule));
}

bool is_given(const ShapeRequest& request, std::string_view option) {
  return std::ranges::any_of(request.parameters,
                             [&](const auto& one) { return one.first->option == option; });
}

Schedule one_pipeline(const std::string& name_or_file, const ShapeRequest& request) {
  if (!is_family(name_or_file) && names_file(name_or_file)) {
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
  if (request.losses && request.num_pipelines == 1 && !is_given(request, "--stage-updates")) {
    shape.stage_updates = false;  // first the losses
    const Schedule schedule = with_asked_losses(one.build(shape), request);
    return schedule.placement.num_replicas() == 1 ? add_updates(schedule) : schedule;
  }
  return with_asked_losses(one.build(shape), request);
}

}  // namespace

Losses read_losses(const std::string& text, int num_stages, WeightRule rule) {
  std::optional<std::vector<LossReach>> losses = parse_losses(text);
  if (!losses) {
    throw ConfigError(fmt::format("--losses: '{}' is not a list of losses; expected {}",
                                  text.substr(0, 40), kLossesForm));
  }
  if (const std::string fault = fault_of_losses(num_stages, *losses); !fault.empty()) {
    throw ConfigError(fmt::format("--losses: {}", fault));
  }
  return {num_stages, std::move(*losses), rule};
}

Schedule load_or_build(const std::string& name_or_file, const ShapeRequest& request) {
  const Schedule schedule =
      data_parallel(one_pipeline(name_or_file, request), request.num_pipelines);
  return request.queues ? with_queues(schedule, parse_queues(*request.queues)) : schedule;
}

}  // namespace halfback
