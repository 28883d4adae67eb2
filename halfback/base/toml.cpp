#include "halfback/base/toml.h"

#include "halfback/base/error.h"

#include <fmt/format.h>

#include <cstdint>
#include <system_error>

namespace halfback {

toml::table read_toml(const std::filesystem::path& path, const std::string& what) {
  const std::string file = path.string();
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    throw FileError(fmt::format("{}: no such {}; correct the path", file, what));
  }
  try {
    return toml::parse_file(file);
  } catch (const toml::parse_error& fault) {
    throw FileError(fmt::format("{}:{}: no TOML: {}; correct the line", file,
                                fault.source().begin.line, fault.description()));
  }
}

std::optional<std::string> option_text(const toml::node& node) {
  if (auto text = node.value_exact<std::string>()) {
    return text;
  }
  if (const auto number = node.value_exact<std::int64_t>()) {
    return std::to_string(*number);
  }
  if (const auto number = node.value_exact<double>()) {
    return fmt::format("{}", *number);
  }
  if (const auto truth = node.value_exact<bool>()) {
    return *truth ? "true" : "false";
  }
  return std::nullopt;
}

}  // namespace halfback
