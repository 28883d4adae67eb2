// Small helpers for texts that people type and read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace halfback {

// Returns the parts between separators; "a,,b" has three. An empty text has one empty part.
std::vector<std::string_view> split(std::string_view text, char separator);

// Returns the text without white space at both ends.
std::string_view trim(std::string_view text);

// Returns the whole text as a number, or nothing when a character does not belong to the number or
// the number does not fit.
std::optional<std::int64_t> parse_integer(std::string_view text);
std::optional<double> parse_number(std::string_view text);

// Returns " (did you mean NAME?)" for the closest of the names, or "" when none is close.
std::string suggestion(std::string_view typed, const std::vector<std::string>& names);

// Returns bytes with a binary unit and three digits: "1.50 MiB".
std::string format_bytes(std::int64_t bytes);

}  // namespace halfback
