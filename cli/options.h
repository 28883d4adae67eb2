// Options that several verbs have; they mean the same everywhere.
#pragma once

#include "halfback/schedule/runnable.h"
#include "halfback/schedule/source.h"

#include <CLI/CLI.hpp>

#include <string>
#include <utility>
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

// Which schedule: NAME or FILE, and what of a ShapeRequest is asked for by options.
struct ScheduleOptions {
  std::string source;
  ShapeRequest request = {};

  // Adds all of them, the source as a required positional or, given its name, as an option. The
  // verb's callback must keep this object alive.
  void add_to(CLI::App& verb, const std::string& source_option = "");
  // Returns the schedule that they name; a file is validated if `verifies`; families that search an
  // order do so for these times. Throws as load_or_build().
  Schedule load(bool verifies = true, const ShareTimes& times = {}) const;
  // Returns it ready to run; errors of a file begin with its name. Throws as make_runnable(), too.
  RunnableSchedule load_runnable(RunnableOptions options) const;
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

// Throws ConfigError with a suggestion.
[[noreturn]] void throw_unknown_choice(const std::string& option,
                                       const std::string& value,
                                       const std::vector<std::string>& choices);

// Throws it unless the value is one of the choices.
void require_choice(const std::string& option,
                    const std::string& value,
                    const std::vector<std::string>& choices);

// Returns the value of a choice; throws it for another name.
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

// Returns "1f1b-1: 4 ranks, 4 stages, 4 micro-batches, split backward", with the number of
// replicas where there are several.
std::string headline(const Schedule& schedule);

}  // namespace halfback::cli
