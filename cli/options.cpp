#include "cli/options.h"

#include "halfback/base/error.h"
#include "halfback/base/text.h"
#include "halfback/schedule/families.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <type_traits>
#include <utility>
#include <variant>

namespace halfback::cli {

namespace {

void require_on_or_off(CLI::Option* option) {
  option->each([name = option->get_name()](const std::string& value) { is_on(name, value); });
}

void add_parameter(CLI::App& verb, const FamilyParameter& row, GivenParameters& given) {
  const auto add = [&]<typename Value>(Value PipelineShape::*) {
    using Given = std::conditional_t<std::is_arithmetic_v<Value>, Value, bool>;
    const auto take = [&row, &given](const Given& value) { given[&row] = value; };
    CLI::Option* option = verb.add_option_function<Given>(row.option, take, row.help);
    option->type_name(row.type);
    if (std::is_same_v<Given, bool>) {
      require_on_or_off(option);
    }
  };
  std::visit(add, row.member);
}

}  // namespace

void add_family_parameters(CLI::App& verb, GivenParameters& given) {
  for (const FamilyParameter& row : family_parameters()) {
    add_parameter(verb, row, given);
  }
}

void add_two_stage(CLI::App& verb, std::optional<bool>& two_stage, const std::string& help) {
  require_on_or_off(add_option(verb, "--two-stage", two_stage, "on|off", help));
}

void add_queues(CLI::App& verb, std::optional<std::string>& queues) {
  add_option(verb, "--queue", queues, "D[,D...]",
             "Micro-batches that wait between blocks, for losses inside the model: one length for "
             "all boundaries that no gradient crosses, or one for each from the bottom");
}

void add_losses(CLI::App& verb, std::optional<std::string>& losses) {
  add_option(
      verb, "--losses", losses, "LIST",
      "Losses inside the model, for any family of backprop: the stage of each and the lowest "
      "stage that its gradient reaches, as in 1:0,3:2");
}

void ScheduleOptions::add_to(CLI::App& verb, const std::string& source_option) {
  add_option(
      verb, source_option.empty() ? "schedule" : source_option, source, "NAME|FILE",
      fmt::format("Name of a family ('halfback schedule list') or of a training scheme ({}), "
                  "or a CSV file",
                  fmt::join(scheme_names(), ", ")))
      ->required(source_option.empty());
  add_option(verb, "--ranks", request.num_ranks, "N", "Number of ranks (family: 4; file: its own)");
  add_option(verb, "--micro-batches", request.num_micro_batches, "M",
             "Micro-batches per step (family: as its name says, or one per rank; file: its own)");
  add_two_stage(verb, request.two_stage,
                "Split backward into I and W, on or off (family: on; file: its own)");
  add_option(verb, "--data-parallel", request.num_pipelines, "D",
             "Pipelines that share a step, each with its own replica of the weights, --ranks and "
             "--micro-batches");
  add_losses(verb, request.losses);
  add_option(verb, "--loss-weights", request.weight_rule, "RULE",
             "What weights take where the gradients of several losses pass: sum, mean or furthest "
             "(sum; local-interlocking: furthest)");
  add_queues(verb, request.queues);
  add_family_parameters(verb, request.parameters);
}

Schedule ScheduleOptions::load(bool verifies, const ShareTimes& times) const {
  ShapeRequest whole = request;
  whole.times = times;
  whole.verifies = verifies;
  return load_or_build(source, whole);
}

// A file is checked once, with the capacity that it runs with. If it is replicated, it is checked
// before that, or the place of a fault would not be in the file.
RunnableSchedule ScheduleOptions::load_runnable(RunnableOptions options) const {
  if (!is_family(source)) {
    options.where = source;
  }
  return make_runnable(load(options.verifies && request.num_pipelines > 1), options);
}

void FormatOption::add_to(CLI::App& verb,
                          std::vector<std::string> formats,
                          const std::string& help) {
  formats_ = std::move(formats);
  add_option(verb, "--format", format_, "FORMAT", fmt::format("{} ({})", help, formats_.front()));
  verb.add_flag("--json", is_json_, "Print JSON, same as --format json");
}

std::string FormatOption::name() const {
  if (is_json_ && !format_.empty() && format_ != "json") {
    throw ConfigError(fmt::format("--json beside --format {}; leave one of them out", format_));
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

void throw_unknown_choice(const std::string& option,
                          const std::string& value,
                          const std::vector<std::string>& choices) {
  throw ConfigError(fmt::format("{}: '{}' is not known{}; expected {}", option, value.substr(0, 40),
                                suggestion(value.substr(0, 40), choices),
                                fmt::join(choices, ", ")));
}

void require_choice(const std::string& option,
                    const std::string& value,
                    const std::vector<std::string>& choices) {
  if (std::find(choices.begin(), choices.end(), value) == choices.end()) {
    throw_unknown_choice(option, value, choices);
  }
}

}  // namespace halfback::cli
