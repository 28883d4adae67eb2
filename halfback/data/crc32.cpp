#include "halfback/data/crc32.h"

#include <zlib.h>

namespace halfback {

std::uint32_t crc32_of(std::string_view bytes, std::uint32_t before) {
  // zlib treats a null pointer, which an empty view may have, as a request for the initial value.
  return bytes.empty() ? before
                       : static_cast<std::uint32_t>(::crc32_z(
                             before, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

}  // namespace halfback
