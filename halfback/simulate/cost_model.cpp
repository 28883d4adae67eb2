#include "halfback/simulate/cost_model.h"

#include "halfback/base/error.h"
#include "halfback/base/text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

namespace halfback {

namespace {

using Json = nlohmann::json;

void check_cost(double cost, const char* what) {
  if (!std::isfinite(cost) || cost < 0.0) {
    throw ConfigError(fmt::format("cost: {} is {}; a cost is a number of at least 0", what, cost));
  }
}

void check_keys(const Json& object,
                const std::vector<std::string>& known,
                const std::string& where) {
  if (!object.is_object()) {
    throw ConfigError(fmt::format("{}: expected an object with {}", where, fmt::join(known, ", ")));
  }
  for (const auto& [key, value] : object.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      throw ConfigError(fmt::format("{}: unknown key '{}'{}; known are {}", where, key,
                                    suggestion(key, known), fmt::join(known, ", ")));
    }
  }
}

double read_number(const Json& object, const char* key, const std::string& where) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) {
    throw ConfigError(fmt::format("{}: {} is missing or no number", where, key));
  }
  return found->get<double>();
}

StageCost read_stage(const Json& object, const std::string& where) {
  check_keys(object, {"forward", "input", "weight", "full", "update"}, where);
  StageCost cost{.forward = read_number(object, "forward", where),
                 .input = read_number(object, "input", where),
                 .weight = read_number(object, "weight", where),
                 .full = std::nullopt};
  if (object.contains("full")) {
    cost.full = read_number(object, "full", where);
  }
  if (object.contains("update")) {
    cost.update = read_number(object, "update", where);
  }
  return cost;
}

}  // namespace

double StageCost::of(ActionKind kind) const {
  switch (kind) {
    case ActionKind::Forward:
      return forward;
    case ActionKind::Backward:
      return full.value_or(input + weight);
    case ActionKind::BackwardInput:
      return input;
    case ActionKind::BackwardWeight:
      return weight;
    case ActionKind::Update:
      return update;
    default:
      return 0.0;
  }
}

const StageCost& CostModel::stage(int index) const {
  return stages.size() == 1 ? stages.front() : stages[static_cast<std::size_t>(index)];
}

void CostModel::check(int num_stages) const {
  if (stages.size() != 1 && stages.size() != static_cast<std::size_t>(num_stages)) {
    throw ConfigError(
        fmt::format("cost: costs of {} stages for a schedule of {}; give one for all "
                    "or one a stage",
                    stages.size(), num_stages));
  }
  check_cost(latency, "latency");
  for (const StageCost& cost : stages) {
    check_cost(cost.forward, "forward");
    check_cost(cost.input, "input");
    check_cost(cost.weight, "weight");
    check_cost(cost.full.value_or(0.0), "full");
    check_cost(cost.update, "update");
  }
}

CostModel parse_costs(std::string_view text) {
  std::vector<double> values;
  for (const std::string_view part : split(text, ',')) {
    const std::optional<double> value = parse_number(trim(part));
    if (!value || !std::isfinite(*value) || *value < 0.0) {
      throw ConfigError(
          fmt::format("cost: '{}' is no number of at least 0; expected f,i,w or "
                      "f,i,w,b, as in 1,1,1",
                      part.substr(0, 40)));
    }
    values.push_back(*value);
  }
  if (values.size() != 3 && values.size() != 4) {
    throw ConfigError(
        fmt::format("cost: {} numbers; expected f,i,w or f,i,w,b, as in 1,1,1", values.size()));
  }
  StageCost cost{
      .forward = values[0], .input = values[1], .weight = values[2], .full = std::nullopt};
  if (values.size() == 4) {
    cost.full = values[3];
  }
  return {.stages = {cost}};
}

CostModel parse_cost_file(std::string_view json, const std::string& source_name) {
  const Json root = Json::parse(json, nullptr, false);
  if (root.is_discarded()) {
    throw ConfigError(fmt::format("{}: not valid JSON", source_name));
  }
  check_keys(root, {"stages", "latency"}, source_name);
  const auto stages = root.find("stages");
  if (stages == root.end() || !stages->is_array() || stages->empty()) {
    throw ConfigError(fmt::format("{}: stages is missing or no list of costs", source_name));
  }
  CostModel model{.stages = {}};
  for (const Json& stage : *stages) {
    model.stages.push_back(
        read_stage(stage, fmt::format("{}: stage {}", source_name, model.stages.size())));
  }
  if (root.contains("latency")) {
    model.latency = read_number(root, "latency", source_name);
  }
  model.check(static_cast<int>(model.stages.size()));
  return model;
}

std::string to_cost_file(const CostModel& model) {
  Json stages = Json::array();
  for (const StageCost& cost : model.stages) {
    Json stage = {{"forward", cost.forward},
                  {"input", cost.input},
                  {"weight", cost.weight},
                  {"update", cost.update}};
    if (cost.full) {
      stage["full"] = *cost.full;
    }
    stages.push_back(std::move(stage));
  }
  return Json{{"stages", std::move(stages)}, {"latency", model.latency}}.dump(2) + '\n';
}

CostModel load_costs(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    throw FileError(fmt::format("{}: cannot be read", path.string()));
  }
  return parse_cost_file(text.str(), path.string());
}

void save_costs(const CostModel& model, const std::filesystem::path& path) {
  std::ofstream file(path, std::ios::binary);
  file << to_cost_file(model);
  if (!file.flush()) {
    throw FileError(fmt::format("{}: cannot be written", path.string()));
  }
}

}  // namespace halfback
