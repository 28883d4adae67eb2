// Options from a file: for every verb, --config FILE reads TOML whose keys are long option names
// without the dashes.
//
//   ranks = 4
//   two-stage = "on"
//
// An option on the command line overrides the file's.
#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace halfback::cli {

// Throws ConfigError, beginning with `where`, unless the verb has an option of this name.
void check_option(const CLI::App& verb, std::string_view name, const std::string& where);

// Adds --config to each verb, and makes the last of a repeated option win.
void add_config_options(CLI::App& app);

// Returns the arguments, with those from --config files before the verb's own. Throws ConfigError
// with a suggestion for an unknown verb, option or key; FileError for a file that cannot be read or
// is not TOML.
std::vector<std::string> expand_config(const CLI::App& app,
                                       const std::vector<std::string>& arguments);

// Returns all long options of a parsed verb with their effective values, as a --config file that
// repeats the run. Options with neither value nor default are left out.
std::string to_toml(const CLI::App& verb);

}  // namespace halfback::cli
