#include "halfback/base/page/page.h"

#include <nlohmann/json.hpp>

namespace halfback {

std::string with_data(std::string_view page, const nlohmann::json& data) {
  constexpr std::string_view kPlace = "{{data}}";
  const std::size_t place = page.find(kPlace);
  std::string filled(page.substr(0, place));
  for (const char c : data.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)) {
    if (c == '<') {  // in JSON it stands in strings only
      filled += "\\u003c";
    } else {
      filled += c;
    }
  }
  return filled += page.substr(place + kPlace.size());
}

}  // namespace halfback
