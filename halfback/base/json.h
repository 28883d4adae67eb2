// JSON from outside: bounded, strict, and quoted safely in messages.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <string_view>

namespace halfback {

inline constexpr int kMaxJsonDepth = 32;

// Returns the value of a JSON text. Throws FileError beginning with `source` when the text is not
// JSON, nests deeper than kMaxJsonDepth, repeats a key within an object or holds a NUL byte.
nlohmann::json parse_json(std::string_view text, std::string_view source);

// Returns the text between quotes for a message: control characters and bytes that are not UTF-8
// are escaped or replaced, and texts over 80 bytes are cut.
std::string quote(std::string_view text);

namespace detail {
// Returns the message of a JSON exception without the library's tag, cut to a line.
std::string json_reason(const char* what);
}  // namespace detail

}  // namespace halfback
