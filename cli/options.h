// Options that several verbs have; they mean the same everywhere.
#pragma once

#include "halfback/schedule/source.h"

#include <CLI/CLI.hpp>

#include <optional>
#include <string>
#include <vector>

namespace halfback::cli {

// Adds an option that takes a `type`, as the help calls it.
template <typename Value>
CLI::Option* add_option(CLI::App& verb,
                        const std::string& name,
                        Value& value,
                        const char* type,
                        const std::string& help) {
  return verb.add_option(name, value, help)->type_name(type);
}

// Which schedule: NAME or FILE, --ranks, --micro-batches, --two-stage, --stage-updates, what some
// families take, and how many pipelines of it share a step.
struct ScheduleOptions {
  std::string source;
  std::optional<int> num_ranks;
  std::optional<int> num_micro_batches;
  std::string two_stage;
  std::optional<int> stages_per_rank;
  std::optional<int> group_size;
  std::optional<double> memory_limit;
  std::optional<double> released_at_input;
  std::optional<int> chunks;
  std::optional<int> window;
  std::optional<int> distance;
  std::optional<int> trained;
  std::string stage_updates;
  int num_pipelines = 1;

  // Adds all of them, the source as a required positional or, given its name, as an option. The
  // verb's callback must keep this object alive.
  void add_to(CLI::App& verb, const std::string& source_option = "");
  // Returns the schedule that they name; a file is validated if `verifies`; families that search an
  // order do so for these times. Throws as load_or_build().
  Schedule load(bool verifies = true, const ShareTimes& times = {}) const;

 private:
  void add_local_options(CLI::App& verb);
};

// --format, and --json for the one of that name.
class FormatOption {
 public:
  // The first format is the default. The verb's callback must keep this object alive.
  void add_to(CLI::App& verb, std::vector<std::string> formats, const std::string& help);
  // Throws ConfigError for a format that is not known, and for two of them.
  std::string name() const;

 private:
  std::vector<std::string> formats_;
  std::string format_;
  bool is_json_ = false;
};

// Returns whether an "on" or "off" is on; else ConfigError naming the option.
bool is_on(const std::string& option, const std::string& value);

// Throws ConfigError with a suggestion unless the value is one of the choices.
void require_choice(const std::string& option,
                    const std::string& value,
                    const std::vector<std::string>& choices);

// Returns "1f1b-1: 4 ranks, 4 stages, 4 micro-batches, backward in two stages", with the number of
// replicas where there are several.
std::string headline(const Schedule& schedule);

}  // namespace halfback::cli
