#include "cli/study_runs.h"

#include "cli/config.h"
#include "cli/run_options.h"
#include "halfback/base/error.h"
#include "halfback/measure/first_layer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <vector>

namespace halfback::cli {

namespace {

// As one word of a shell.
std::string quoted(const std::string& text) {
  std::string word = "'";
  for (const char c : text) {
    word += c == '\'' ? "'\\''" : std::string(1, c);
  }
  return word + "'";
}

TrainingConfig config_of(const StudyRun& run, Whole whole) {
  CLI::App train;
  train.name("train");
  train.option_defaults()->always_capture_default();
  RunOptions options;
  options.add_to(train);
  std::vector<std::string> arguments;
  for (const auto& [option, value] : run.settings) {
    check_option(train, option, "unknown option");
    arguments.push_back(fmt::format("--{}={}", option, value));
  }
  std::ranges::reverse(arguments);  // parse() takes them in this order
  train.parse(arguments);
  TrainingConfig config = options.config(!options.initial.empty());
  if (whole == Whole::Yes) {
    options.complete(config);
  }
  return config;
}

}  // namespace

std::string name_of(const StudyRun& run) {
  const std::string place = place_text(run.place);
  return fmt::format("run {}{}", run.number, place.empty() ? "" : " (" + place + ")");
}

std::string command_of(const StudyRun& run) {
  std::string command = "halfback train";
  for (const auto& [option, value] : run.settings) {
    const bool is_plain = !value.empty() && std::ranges::all_of(value, [](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
             std::strchr("-_./,:+%@", c) != nullptr;
    });
    command += fmt::format(" --{}={}", option, is_plain ? value : quoted(value));
  }
  return command;
}

TrainingConfig config_of(const StudyRun& run,
                         Whole whole,
                         const std::string& file,
                         const StudyMeasures& measures) {
  const auto fail = [&](const char* reason) {
    throw ConfigError(fmt::format("{}: {}: {}", file, name_of(run), reason));
  };
  try {
    TrainingConfig config = config_of(run, whole);
    if (measures.first_layer) {
      require_first_layer(config);
    }
    return config;
  } catch (const CLI::ParseError& error) {
    fail(error.what());
  } catch (const ConfigError& error) {
    fail(error.what());
  }
  return {};
}

}  // namespace halfback::cli
