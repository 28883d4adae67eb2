#include "halfback/data/crc32.h"

#include <zlib.h>

namespace halfback {

std::uint32_t crc32_of(std::string_view bytes, std::uint32_t before) {
  // zlib takes a null pointer, which an empty view may be, for a question about the first value.
  return bytes.empty() ? before
                       : static_cast<std::uint32_t>(::crc32_z(
                             before, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

}  // namespace halfback
