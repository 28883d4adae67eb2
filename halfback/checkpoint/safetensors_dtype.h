// The element types that torch and safetensors share.
#pragma once

#include <c10/core/ScalarType.h>

#include <optional>
#include <string_view>

namespace halfback::detail {

// Returns the format's name of a type, or "" if it has none.
std::string_view safetensors_dtype(at::ScalarType dtype);

// Returns torch's type, or nothing if it has none.
std::optional<at::ScalarType> torch_dtype(std::string_view dtype);

}  // namespace halfback::detail
