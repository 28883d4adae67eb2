#include "halfback/train/json_size.h"

#include "halfback/base/error.h"
#include "halfback/base/json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace halfback::detail {

std::int64_t read_size(const nlohmann::json& json,
                       const std::string& key,
                       const std::string& source,
                       std::optional<std::int64_t> otherwise) {
  const auto found = json.find(key);
  const bool is_there = found != json.end() && !found->is_null();
  if (!is_there && otherwise) {
    return *otherwise;
  }
  if (!is_there || !found->is_number_integer()) {
    throw FileError(fmt::format(
        "{}: {}; expected a whole number; use the config that came with the checkpoint", source,
        is_there ? fmt::format("\"{}\" is {}", key, quote(found->dump()))
                 : fmt::format("no \"{}\"", key)));
  }
  return found->get<std::int64_t>();
}

}  // namespace halfback::detail
