#include "halfback/study/rows.h"

#include "halfback/base/error.h"
#include "halfback/base/json.h"

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

namespace halfback {

namespace {

using Json = nlohmann::json;

constexpr const char* kStudy = "study";

// The lines that end with a line feed, and their bytes.
struct WholeLines {
  std::vector<Json> values;
  std::size_t num_bytes = 0;
};

WholeLines read_lines(const std::filesystem::path& path) {
  const std::string text = read_file(path);
  WholeLines lines;
  std::size_t end = 0;
  while ((end = text.find('\n', lines.num_bytes)) != std::string::npos) {
    const std::string_view line(text.data() + lines.num_bytes, end - lines.num_bytes);
    lines.values.push_back(
        parse_json(line, fmt::format("{}:{}", path.string(), lines.values.size() + 1)));
    lines.num_bytes = end + 1;
  }
  return lines;
}

void require_study(const Json& first, const std::filesystem::path& path) {
  if (!first.is_object() || !first.contains(kStudy)) {
    throw FileError(fmt::format(
        "{}: the first line does not say of which study it is; expected a file that study has "
        "written; move it away or choose another --output",
        path.string()));
  }
}

void require_row(const Json& row, const std::filesystem::path& path, std::size_t line) {
  if (!row.is_object() || !row.contains("run") || !row["run"].is_number_integer()) {
    throw FileError(fmt::format("{}:{}: the row does not say of which run it is; delete the line",
                                path.string(), line));
  }
}

// Returns the first key whose values differ, or "".
std::string first_difference(const Json& found, const Json& expected) {
  for (const auto& [key, value] : expected.items()) {
    if (!found.contains(key) || found[key] != value) {
      return key;
    }
  }
  for (const auto& [key, value] : found.items()) {
    if (!expected.contains(key)) {
      return key;
    }
  }
  return "";
}

// Returns the rows of this study; nothing, no bytes included, if the file is not there.
WholeLines read_rows(const std::filesystem::path& path, const Study& study) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    return {};
  }
  WholeLines lines = read_lines(path);
  if (lines.values.empty()) {
    return {};
  }
  require_study(lines.values.front(), path);
  const std::string key = first_difference(lines.values.front()[kStudy], description_of(study));
  if (!key.empty()) {
    throw ConfigError(fmt::format(
        "{}: the rows are of another study: {} differs; undo the change, or choose another "
        "--output",
        path.string(), key));
  }
  lines.values.erase(lines.values.begin());
  for (std::size_t i = 0; i < lines.values.size(); ++i) {
    require_row(lines.values[i], path, i + 2);
  }
  return lines;
}

// Makes the file, or leaves only whole rows of this study in it. Returns them.
std::vector<Json> prepare(const std::filesystem::path& path, const Study& study) {
  WholeLines lines = read_rows(path, study);
  if (lines.num_bytes == 0) {
    write_file_atomically(path, Json{{kStudy, description_of(study)}}.dump() + "\n");
  } else {
    std::filesystem::resize_file(path, lines.num_bytes);
  }
  return std::move(lines.values);
}

std::set<int> numbers_of(const std::vector<Json>& rows) {
  std::set<int> numbers;
  for (const Json& row : rows) {
    numbers.insert(row.at("run").get<int>());
  }
  return numbers;
}

Json json_of(const std::vector<Setting>& settings) {
  Json object = Json::object();
  for (const Setting& setting : settings) {
    object[setting.option] = setting.value;
  }
  return object;
}

}  // namespace

StudyRows::StudyRows(const std::filesystem::path& path, const Study& study)
    : rows_(prepare(path, study)), runs_(numbers_of(rows_)), file_(path, OpenMode::Append) {}

void StudyRows::add(nlohmann::json row) {
  file_.write(row.dump() + "\n");
  file_.sync();
  runs_.insert(row.at("run").get<int>());
  rows_.push_back(std::move(row));
}

std::set<int> done_runs(const std::filesystem::path& path, const Study& study) {
  return numbers_of(read_rows(path, study).values);
}

std::vector<nlohmann::json> load_rows(const std::filesystem::path& path) {
  WholeLines lines = read_lines(path);
  require_study(lines.values.empty() ? Json() : lines.values.front(), path);
  lines.values.erase(lines.values.begin());
  return std::move(lines.values);
}

nlohmann::json description_of(const Study& study) {
  Json all = Json::object();
  for (const Setting& setting : study.common) {
    all[fmt::format("[run] {}", setting.option)] = setting.value;
  }
  for (const StudyAxis& axis : study.axes) {
    Json& values = all[fmt::format("[grid] {}", axis.name)];
    for (const StudyAxis::Value& value : axis.values) {
      values.push_back({{"name", value.label}, {"options", json_of(value.settings)}});
    }
  }
  if (!study.trials.options.empty()) {
    all["[trials] count"] = study.trials.count;
    all["[trials] seed"] = study.trials.seed;
  }
  for (const auto& [name, range] : study.trials.options) {
    all[fmt::format("[trials] {}", name)] = {range.low, range.high, static_cast<int>(range.scale),
                                             range.is_integer};
  }
  if (study.measures.cosines) {
    all["[measure] cosines"] = true;
  }
  if (study.measures.first_layer) {
    all["[measure] first-layer"] = true;
  }
  if (study.measures.lipschitz > 0) {
    all["[measure] lipschitz"] = study.measures.lipschitz;
  }
  if (const auto& loss = study.target.validation_loss) {
    all["[target] validation-loss"] = *loss;
  }
  if (const auto& accuracy = study.target.validation_accuracy) {
    all["[target] validation-accuracy"] = *accuracy;
  }
  return all;
}

}  // namespace halfback
