// Any bytes either throw FileError or are a header that survives being written and read again.
// The first byte chooses: a whole file as it is, a header whose length is put in front of it, or
// the text of an index.

#include "halfback/base/error.h"
#include "halfback/base/json.h"
#include "halfback/base/safetensors_header.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

using halfback::SafetensorsHeader;

void require(bool holds) {
  if (!holds) {
    std::abort();
  }
}

void check(std::string_view bytes, std::uint64_t file_bytes) {
  const SafetensorsHeader header = halfback::parse_safetensors_header(bytes, file_bytes, "fuzz");
  std::uint64_t end = 0;
  for (const halfback::TensorEntry& entry : header.tensors) {
    require(entry.begin == end && entry.end >= entry.begin);
    end = entry.end;
  }
  require(header.data_begin + end == file_bytes);
  const std::string written = halfback::write_safetensors_header(header.tensors, header.metadata);
  const SafetensorsHeader again =
      halfback::parse_safetensors_header(written, written.size() + end, "again");
  require(again.tensors == header.tensors && again.metadata == header.metadata);
}

std::string with_length(std::string_view json) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) {
    bytes += static_cast<char>(static_cast<unsigned char>(json.size() >> (8 * i)));
  }
  return bytes.append(json);
}

void run(std::string_view input) {
  const auto choice = static_cast<unsigned char>(input.front());
  input.remove_prefix(1);
  if (choice == 0) {
    check(input, input.size());
  } else if (choice == 1) {
    static_cast<void>(halfback::parse_json(input, "fuzz"));
  } else {
    const std::string bytes = with_length(input);
    check(bytes, bytes.size() + choice - 2);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) {
    return 0;
  }
  try {
    run({reinterpret_cast<const char*>(data), size});
  } catch (const halfback::FileError&) {
    // What bad input should cause.
  }
  return 0;
}
