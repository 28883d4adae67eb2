#include "halfback/data/byte_text.h"

#include <algorithm>
#include <string_view>

namespace halfback {

ByteText::ByteText(const TextOptions& options) : Text(options) {
  lay_windows({.training = static_cast<std::int64_t>(file().training().size()),
               .validation = static_cast<std::int64_t>(file().validation().size())},
              "bytes");
}

void ByteText::copy_tokens(Part part, std::int64_t begin, std::span<std::int64_t> to) const {
  const std::string_view bytes = part == Part::Training ? file().training() : file().validation();
  const std::string_view window = bytes.substr(static_cast<std::size_t>(begin), to.size());
  std::transform(window.begin(), window.end(), to.begin(), [](char byte) {
    return static_cast<std::int64_t>(static_cast<unsigned char>(byte));
  });
}

}  // namespace halfback
