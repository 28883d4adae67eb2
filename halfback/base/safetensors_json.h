// The grammar of a safetensors header: its JSON as a list of entries. Internal to
// safetensors_header.cpp, which checks that offsets, sizes and names agree.
#pragma once

#include "halfback/base/safetensors_header.h"

#include <string_view>

namespace halfback::detail {

// Throws FileError "SOURCE: FOUND; EXPECTED; what to do".
[[noreturn]] void fail_safetensors(std::string_view source,
                                   std::string_view found,
                                   std::string_view expected);

// Appends tensors and metadata in the order of the text. Throws FileError at the first syntax
// error, unknown, missing or repeated key, or value of the wrong kind. Memory is bounded by the
// text's length.
void read_safetensors_json(std::string_view text,
                           std::string_view source,
                           SafetensorsHeader& header);

}  // namespace halfback::detail
