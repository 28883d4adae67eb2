#include "halfback/checkpoint/safetensors_dtype.h"

#include <array>
#include <utility>

namespace halfback::detail {

namespace {

constexpr std::array<std::pair<at::ScalarType, std::string_view>, 16> kDtypes = {{
    {at::kBool, "BOOL"},
    {at::kByte, "U8"},
    {at::kChar, "I8"},
    {at::kFloat8_e4m3fn, "F8_E4M3"},
    {at::kFloat8_e5m2, "F8_E5M2"},
    {at::kShort, "I16"},
    {at::kUInt16, "U16"},
    {at::kHalf, "F16"},
    {at::kBFloat16, "BF16"},
    {at::kInt, "I32"},
    {at::kUInt32, "U32"},
    {at::kFloat, "F32"},
    {at::kLong, "I64"},
    {at::kUInt64, "U64"},
    {at::kDouble, "F64"},
    {at::kComplexFloat, "C64"},
}};

}  // namespace

std::string_view safetensors_dtype(at::ScalarType dtype) {
  for (const auto& [torch, format] : kDtypes) {
    if (torch == dtype) {
      return format;
    }
  }
  return {};
}

std::optional<at::ScalarType> torch_dtype(std::string_view dtype) {
  for (const auto& [torch, format] : kDtypes) {
    if (format == dtype) {
      return torch;
    }
  }
  return std::nullopt;
}

}  // namespace halfback::detail
