// Options that several verbs share, with the same meaning everywhere.
#pragma once

#include "halfback/schedule/runnable.h"
#include "halfback/schedule/source.h"

#include <CLI/CLI.hpp>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace halfback::cli {

// Adds an option that takes a `type`, as named in the help.
template <typename Value>
CLI::Option* add_option(CLI::App& verb,
                        const std::string& name,
                        Value& value,
                        const char* type,
                        const std::string& help) {
  return verb.add_option(name, value, help)->type_name(type);
}

// Adds an option for each row of family_parameters(). The verb's callback must keep `given` alive.
void add_family_parameters(CLI::App& verb, GivenParameters& given);
void add_two_stage(CLI::App& verb, std::optional<bool>& two_stage, const std::string& help);
void add_queues(CLI::App& verb, std::optional<std::string>& queues);
void add_losses(CLI::App& verb, std::optional<std::string>& losses);

// Which schedule: NAME or FILE, plus the parts of a ShapeRequest that options set.
struct ScheduleOptions {
  std::string source;
  ShapeRequest request = {};

  // Adds all of them. The source is a required positional or, given a name, an option. The verb's
  // callback must keep this object alive.
  void add_to(CLI::App& verb, const std::string& source_option = "");
  // Returns the schedule that they name. A file is validated if `verifies`; families that search
  // for an order use these times. Throws like load_or_build().
  Schedule load(bool verifies = true, const ShareTimes& times = {}) const;
  // Returns it ready to run. Errors of a file begin with its name. Also throws like
  // make_runnable().
  RunnableSchedule load_runnable(RunnableOptions options) const;
};

// --format, and --json for the format of that name.
class FormatOption {
 public:
  // The first format is the default. The verb's callback must keep this object alive.
  void add_to(CLI::App& verb, std::vector<std::string> formats, const std::string& help);
  // Throws ConfigError for an unknown format, and for two formats.
  std::string name() const;

 private:
  std::vector<std::string> formats_;
  std::string format_;
  bool is_json_ = false;
};

// Returns whether "on" or "off" is on; otherwise throws ConfigError naming the option.
bool is_on(const std::string& option, const std::string& value);

// Throws ConfigError with a suggestion.
[[noreturn]] void throw_unknown_choice(const std::string& option,
                                       const std::string& value,
                                       const std::vector<std::string>& choices);

// Throws this unless the value is one of the choices.
void require_choice(const std::string& option,
                    const std::string& value,
                    const std::vector<std::string>& choices);

// Returns the value of a choice; throws this for an unknown name.
template <typename Value>
Value chosen(const std::string& option,
             const std::string& name,
             const std::vector<std::pair<std::string, Value>>& choices) {
  std::vector<std::string> names;
  for (const auto& [known, value] : choices) {
    if (known == name) {
      return value;
    }
    names.push_back(known);
  }
  throw_unknown_choice(option, name, names);
}

}  // namespace halfback::cli
