// Any bytes either throw FileError or are a header whose sizes account for every byte.

#include "halfback/base/error.h"
#include "halfback/base/idx_header.h"

#include <cstdint>
#include <cstdlib>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const halfback::IdxHeader header =
        halfback::parse_idx_header({reinterpret_cast<const char*>(data), size}, "fuzz");
    std::uint64_t product = 1;
    for (const std::uint32_t one : header.shape) {
      product *= one;
    }
    if (header.shape.empty() || product != header.num_bytes ||
        header.data_begin + header.num_bytes != size) {
      std::abort();
    }
  } catch (const halfback::FileError&) {
    // What bad input should cause.
  }
  return 0;
}
