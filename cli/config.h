// Options from a file: --config FILE holds TOML whose keys are long option names without the
// dashes, for every verb.
//
//   ranks = 4
//   two-stage = "on"
//
// An option on the command line replaces the file's.
#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace halfback::cli {

// Adds --config to each verb, and lets the last of a repeated option win.
void add_config_options(CLI::App& app);

// Returns the arguments with those of the --config files in front of the verb's own. Throws
// ConfigError with a suggestion for a verb, an option or a key that does not exist; FileError for a
// file that cannot be read or is no TOML.
std::vector<std::string> expand_config(const CLI::App& app,
                                       const std::vector<std::string>& arguments);

// Returns all long options of a parsed verb with their effective values, as a file for --config
// that gives the same run. Options without value and default are left out.
std::string to_toml(const CLI::App& verb);

}  // namespace halfback::cli
