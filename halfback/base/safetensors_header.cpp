#include "halfback/base/safetensors_header.h"

#include "halfback/base/error.h"
#include "halfback/base/json.h"
#include "halfback/base/safetensors_json.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <unordered_set>
#include <utility>

namespace halfback {

using detail::fail_safetensors;

namespace {

constexpr std::string_view kMetadataKey = "__metadata__";
constexpr std::uint64_t kLengthBytes = 8;

struct Dtype {
  std::string_view name;
  std::uint64_t num_bits;
};

constexpr std::array kDtypes = {
    Dtype{"BOOL", 8},    Dtype{"U8", 8},      Dtype{"I8", 8},          Dtype{"F8_E4M3", 8},
    Dtype{"F8_E5M2", 8}, Dtype{"F8_E8M0", 8}, Dtype{"F8_E4M3FNUZ", 8}, Dtype{"F8_E5M2FNUZ", 8},
    Dtype{"I16", 16},    Dtype{"U16", 16},    Dtype{"F16", 16},        Dtype{"BF16", 16},
    Dtype{"I32", 32},    Dtype{"U32", 32},    Dtype{"F32", 32},        Dtype{"I64", 64},
    Dtype{"U64", 64},    Dtype{"F64", 64},    Dtype{"C64", 64},        Dtype{"F4", 4},
    Dtype{"F6_E2M3", 6}, Dtype{"F6_E3M2", 6},
};

std::string known_dtypes() {
  std::vector<std::string_view> names;
  names.reserve(kDtypes.size());
  for (const Dtype& dtype : kDtypes) {
    names.push_back(dtype.name);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

// Returns 0 for an empty tensor. It ignores sizes of 0 in the overflow check, because strides are
// products of the other sizes.
std::uint64_t num_bits(const TensorEntry& entry,
                       std::uint64_t bits_per_element,
                       std::string_view source) {
  std::uint64_t bits = bits_per_element;
  bool is_empty = false;
  for (const std::int64_t size : entry.shape) {
    is_empty = is_empty || size == 0;
    const auto factor = static_cast<std::uint64_t>(std::max<std::int64_t>(size, 1));
    if (__builtin_mul_overflow(bits, factor, &bits)) {
      fail_safetensors(
          source,
          fmt::format("tensor {} has shape [{}]", quote(entry.name), fmt::join(entry.shape, ", ")),
          "its number of bits must fit into 64 bits");
    }
  }
  return is_empty ? 0 : bits;
}

void check_entry(const TensorEntry& entry, std::string_view source) {
  const auto bits_per_element = safetensors_dtype_bits(entry.dtype);
  if (!bits_per_element) {
    throw FileError(fmt::format("{}: tensor {} has the dtype {}; known are {}; convert the file",
                                source, quote(entry.name), quote(entry.dtype), known_dtypes()));
  }
  const std::uint64_t bits = num_bits(entry, *bits_per_element, source);
  if (entry.begin > entry.end || bits % 8 != 0 || bits / 8 != entry.end - entry.begin) {
    fail_safetensors(
        source,
        fmt::format("tensor {} has data_offsets [{}, {}]", quote(entry.name), entry.begin,
                    entry.end),
        fmt::format("{} [{}] takes {} bits", entry.dtype, fmt::join(entry.shape, ", "), bits));
  }
}

void check_names(const SafetensorsHeader& header, std::string_view source) {
  std::unordered_set<std::string_view> names;
  names.reserve(header.tensors.size());
  for (const TensorEntry& entry : header.tensors) {
    if (!names.insert(entry.name).second) {
      fail_safetensors(source, fmt::format("tensor {} comes twice", quote(entry.name)),
                       "each name may come once");
    }
  }
}

void sort_by_place(std::vector<TensorEntry>& tensors) {
  const auto is_before = [](const TensorEntry& a, const TensorEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  };
  if (!std::is_sorted(tensors.begin(), tensors.end(), is_before)) {
    std::sort(tensors.begin(), tensors.end(), is_before);
  }
}

void check_layout(const SafetensorsHeader& header,
                  std::uint64_t data_bytes,
                  std::string_view source) {
  std::uint64_t end = 0;
  for (const TensorEntry& entry : header.tensors) {
    if (entry.begin != end) {
      fail_safetensors(source,
                       fmt::format("tensor {} begins at byte {}, the one before ends at {}",
                                   quote(entry.name), entry.begin, end),
                       entry.begin < end ? "tensors must not overlap" : "there must be no hole");
    }
    end = entry.end;
  }
  if (end != data_bytes) {
    fail_safetensors(
        source,
        fmt::format("the header describes {} bytes of data, the file has {}", end, data_bytes),
        end > data_bytes ? "the file is cut short" : "nothing may follow the last tensor");
  }
}

// Returns the JSON text after checking that it is complete.
std::string_view header_text(std::string_view bytes,
                             std::uint64_t file_bytes,
                             std::string_view source) {
  if (file_bytes < kLengthBytes || bytes.size() < kLengthBytes) {
    fail_safetensors(source, fmt::format("the file has {} bytes", file_bytes),
                     "a header length takes 8");
  }
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    length |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  }
  if (length > kMaxSafetensorsHeaderBytes) {
    fail_safetensors(source, fmt::format("the header length is {} bytes", length),
                     fmt::format("at most {} are allowed", kMaxSafetensorsHeaderBytes));
  }
  if (length > file_bytes - kLengthBytes || length > bytes.size() - kLengthBytes) {
    fail_safetensors(source, fmt::format("the header length is {} bytes", length),
                     fmt::format("the file has only {} after it", file_bytes - kLengthBytes));
  }
  const std::string_view text = bytes.substr(kLengthBytes, length);
  if (text.empty() || text.front() != '{') {
    fail_safetensors(source, fmt::format("the header begins with {}", quote(text.substr(0, 8))),
                     "expected {");
  }
  // The parser takes a NUL byte as the end of the text.
  if (text.find('\0') != std::string_view::npos) {
    fail_safetensors(source, fmt::format("the header has a NUL byte at {}", text.find('\0')),
                     "expected JSON padded with spaces");
  }
  return text;
}

std::string json_text(const nlohmann::json& value) {
  try {
    return value.dump();
  } catch (const nlohmann::json::exception& error) {
    throw FileError(
        fmt::format("safetensors: a name or a metadata text cannot be written: {}; use UTF-8",
                    detail::json_reason(error.what())));
  }
}

}  // namespace

std::optional<std::uint64_t> safetensors_dtype_bits(std::string_view dtype) {
  const auto found = std::find_if(kDtypes.begin(), kDtypes.end(),
                                  [&](const Dtype& known) { return known.name == dtype; });
  return found == kDtypes.end() ? std::nullopt : std::optional(found->num_bits);
}

SafetensorsHeader parse_safetensors_header(std::string_view bytes,
                                           std::uint64_t file_bytes,
                                           std::string_view source) {
  const std::string_view text = header_text(bytes, file_bytes, source);
  SafetensorsHeader header;
  header.data_begin = kLengthBytes + text.size();
  detail::read_safetensors_json(text, source, header);
  for (const TensorEntry& entry : header.tensors) {
    check_entry(entry, source);
  }
  check_names(header, source);
  sort_by_place(header.tensors);
  check_layout(header, file_bytes - header.data_begin, source);
  return header;
}

std::string write_safetensors_header(const std::vector<TensorEntry>& tensors,
                                     const SafetensorsMetadata& metadata) {
  std::string text(kLengthBytes, '\0');
  text += '{';
  if (!metadata.empty()) {
    text += fmt::format("\"{}\":{}", kMetadataKey, json_text(metadata));
  }
  for (const TensorEntry& entry : tensors) {
    text += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                        text.size() > kLengthBytes + 1 ? "," : "", json_text(entry.name),
                        entry.dtype, fmt::join(entry.shape, ","), entry.begin, entry.end);
  }
  text += '}';
  text.append((kLengthBytes - text.size() % kLengthBytes) % kLengthBytes, ' ');
  const std::uint64_t length = text.size() - kLengthBytes;
  if (length > kMaxSafetensorsHeaderBytes) {
    throw FileError(fmt::format(
        "safetensors: the header of {} tensors takes {} bytes; at most {} are allowed; use several "
        "files",
        tensors.size(), length, kMaxSafetensorsHeaderBytes));
  }
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    text[i] = static_cast<char>(static_cast<unsigned char>(length >> (8 * i)));
  }
  return text;
}

}  // namespace halfback
