#include "halfback/train/metrics.h"

#include "halfback/base/error.h"
#include "halfback/base/json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <string>
#include <string_view>
#include <system_error>

namespace halfback {

namespace fs = std::filesystem;

namespace {

bool is_up_to(const nlohmann::json& line, std::int64_t step) {
  const auto found = line.find("step");
  return found == line.end() || !found->is_number_integer() || found->get<std::int64_t>() <= step;
}

// Returns the lines to keep.
std::string lines_up_to(std::string_view text, std::int64_t step, const std::string& path) {
  std::string kept;
  for (int number = 1; !text.empty(); ++number) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) {
      return kept;  // incomplete because the run died
    }
    const std::string_view line = text.substr(0, end);
    const nlohmann::json values = parse_json(line, fmt::format("{}:{}", path, number));
    if (!values.is_object()) {
      throw FileError(fmt::format("{}:{}: {}; expected a JSON object; remove the line", path,
                                  number, quote(line)));
    }
    if (is_up_to(values, step)) {
      kept.append(line).push_back('\n');
    }
    text.remove_prefix(end + 1);
  }
  return kept;
}

// Returns the path after dropping what the resumed run will write again.
const fs::path& prepared(const fs::path& path, std::optional<std::int64_t> resumed_step) {
  std::error_code ignored;
  if (resumed_step && fs::exists(path, ignored)) {
    write_file_atomically(path, lines_up_to(read_file(path), *resumed_step, path.string()));
  }
  return path;
}

}  // namespace

MetricsLog::MetricsLog(const fs::path& path, std::optional<std::int64_t> resumed_step)
    : file_(prepared(path, resumed_step), resumed_step ? OpenMode::Append : OpenMode::Truncate) {
  if (const MappedFile old(path); !old.bytes().empty()) {
    summary_.add(old.bytes());
  }
}

void MetricsLog::append(const nlohmann::json& values) {
  HALFBACK_CHECK(values.is_object() && values.contains("step"), values.dump());
  const std::string line =
      values.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  file_.write(line);
  summary_.add(line);
}

}  // namespace halfback
