// What all TOML files that people write have in common: options of a verb, studies.
#pragma once

#include <toml++/toml.h>

#include <filesystem>
#include <optional>
#include <string>

namespace halfback {

// Reads a file. Throws FileError for one that is not there, which the error calls by `what`, or
// that is no TOML, with the line.
toml::table read_toml(const std::filesystem::path& path, const std::string& what);

// Returns a text, a number, true or false as the text that an option would get on the command line;
// nothing for any other node.
std::optional<std::string> option_text(const toml::node& node);

}  // namespace halfback
