// The header of a safetensors file: which tensors it holds, and where their bytes are.
//
// Layout: u64 little-endian header length, that many bytes of JSON padded with spaces, then the
// data. Offsets count from the end of the header. The input comes from outside, so every rule of
// the format is checked: no holes, no overlap, no repeated names, sizes that agree.
// Source: the format's description at https://github.com/huggingface/safetensors.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace halfback {

inline constexpr std::uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;
inline constexpr std::size_t kMaxTensorDimensions = 64;

struct TensorEntry {
  std::string name;
  std::string dtype;                // "F32", "BF16", ... as the format spells it
  std::vector<std::int64_t> shape;  // row-major
  std::uint64_t begin = 0;          // bytes after the end of the header
  std::uint64_t end = 0;

  bool operator==(const TensorEntry&) const = default;
};

using SafetensorsMetadata = std::map<std::string, std::string>;

struct SafetensorsHeader {
  std::vector<TensorEntry> tensors;  // in the order of their bytes
  SafetensorsMetadata metadata;
  std::uint64_t data_begin = 0;  // bytes from the start of the file
};

// Returns the bits of one element ("BF16": 16), or nothing for a dtype outside the format.
std::optional<std::uint64_t> safetensors_dtype_bits(std::string_view dtype);

// Reads the header. `bytes` is the start of a file of `file_bytes` bytes and must hold the whole
// header when the file does. Throws FileError that begins with `source` and names the tensor and
// the broken rule. Time: at most n log n in the number of tensors.
SafetensorsHeader parse_safetensors_header(std::string_view bytes,
                                           std::uint64_t file_bytes,
                                           std::string_view source);

// Returns the length and the JSON, padded so that the data begins at a multiple of 8 bytes. Throws
// FileError if the header would exceed the format's limit or a text is not UTF-8. The caller makes
// sure that offsets and names are valid.
std::string write_safetensors_header(const std::vector<TensorEntry>& tensors,
                                     const SafetensorsMetadata& metadata);

}  // namespace halfback
