#include "halfback/simulate/cost_file.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/base/json.h"
#include "halfback/base/text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace halfback {

namespace {

using Json = nlohmann::json;

void check_keys(const Json& object,
                const std::vector<std::string>& known,
                const std::string& where) {
  if (!object.is_object()) {
    throw ConfigError(fmt::format("{}: is {}; expected an object with {}", where,
                                  object.type_name(), fmt::join(known, ", ")));
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
    throw ConfigError(fmt::format("{}: {} is {}; expected a number", where, key,
                                  found == object.end() ? "missing" : found->type_name()));
  }
  return found->get<double>();
}

template <typename Number>
void read_if_given(const Json& object, const char* key, const std::string& where, Number& number) {
  if (object.contains(key)) {
    number = read_number(object, key, where);
  }
}

std::int64_t read_integer(const Json& object, const char* key, const std::string& where) {
  const double number = read_number(object, key, where);
  constexpr double kLimit = 9007199254740992.0;  // 2^53: a larger double is not an exact count
  if (!(number >= 0.0) || number > kLimit || number != std::floor(number)) {
    throw ConfigError(
        fmt::format("{}: {} is {}; expected a whole number of at least 0", where, key, number));
  }
  return static_cast<std::int64_t>(number);
}

const Json& read_list(const Json& root, const char* key, const std::string& where) {
  const auto list = root.find(key);
  if (list == root.end() || !list->is_array() || list->empty()) {
    throw ConfigError(fmt::format("{}: {} is {}; expected a list of one or more", where, key,
                                  list == root.end() ? "missing"
                                  : list->empty()    ? "empty"
                                                     : list->type_name()));
  }
  return *list;
}

void append_memory(const Json& object, const std::string& where, MemoryModel& memory) {
  check_keys(object,
             {"until_input", "until_weight", "gradients", "activation_message", "gradient_message",
              "head", "parameters", "parameter_gradients", "optimizer"},
             where);
  HeadBytes head;
  if (const auto found = object.find("head"); found != object.end()) {
    const std::string of_head = where + ": head";
    check_keys(*found, {"until_input", "until_weight", "gradients"}, of_head);
    head = {.until_input = read_integer(*found, "until_input", of_head),
            .until_weight = read_integer(*found, "until_weight", of_head),
            .gradients = read_integer(*found, "gradients", of_head)};
  }
  memory.stages.push_back({.until_input = read_integer(object, "until_input", where),
                           .until_weight = read_integer(object, "until_weight", where),
                           .gradients = read_integer(object, "gradients", where),
                           .activation_message = read_integer(object, "activation_message", where),
                           .gradient_message = read_integer(object, "gradient_message", where),
                           .head = head});
  const auto optional_integer = [&](const char* key, std::int64_t otherwise) {
    return object.contains(key) ? read_integer(object, key, where) : otherwise;
  };
  const std::int64_t parameters = optional_integer("parameters", 0);
  memory.states.push_back({.parameters = parameters,
                           .gradients = optional_integer("parameter_gradients", parameters),
                           .optimizer = optional_integer("optimizer", 0)});
}

StageCost read_stage(const Json& object, const std::string& where) {
  check_keys(object,
             {"forward", "input", "own_input", "weight", "full", "update", "reduce",
              "activation_bytes", "gradient_bytes", "reduce_bytes", "memory"},
             where);
  StageCost cost{.forward = read_number(object, "forward", where),
                 .input = read_number(object, "input", where),
                 .weight = read_number(object, "weight", where),
                 .full = std::nullopt};
  read_if_given(object, "own_input", where, cost.own_input);
  read_if_given(object, "full", where, cost.full);
  read_if_given(object, "update", where, cost.update);
  read_if_given(object, "activation_bytes", where, cost.activation_bytes);
  read_if_given(object, "gradient_bytes", where, cost.gradient_bytes);
  read_if_given(object, "reduce", where, cost.reduce);
  read_if_given(object, "reduce_bytes", where, cost.reduce_bytes);
  return cost;
}

void read_stages(const Json& list, const std::string& source_name, CostFile& file) {
  file.costs.stages.clear();
  MemoryModel memory;
  for (const Json& stage : list) {
    const std::string where = fmt::format("{}: stage {}", source_name, file.costs.stages.size());
    file.costs.stages.push_back(read_stage(stage, where));
    if (stage.contains("memory")) {
      append_memory(stage["memory"], where + ": memory", memory);
    }
  }
  if (memory.stages.empty()) {
    return;
  }
  if (memory.stages.size() != file.costs.stages.size()) {
    throw ConfigError(fmt::format("{}: {} of {} stages have memory; give it to all or none",
                                  source_name, memory.stages.size(), file.costs.stages.size()));
  }
  take_bytes(file.costs, memory);
  file.memory = std::move(memory);
}

LinkCost read_link(const Json& object, const std::string& where) {
  check_keys(object, {"from", "to", "latency", "bandwidth"}, where);
  const auto rank = [&](const char* key) {
    const std::int64_t number = read_integer(object, key, where);
    if (number >= kMaxIndex) {
      throw ConfigError(
          fmt::format("{}: {} is {}; expected a rank below {}", where, key, number, kMaxIndex));
    }
    return static_cast<int>(number);
  };
  LinkCost link{.from = rank("from"), .to = rank("to")};
  read_if_given(object, "latency", where, link.latency);
  read_if_given(object, "bandwidth", where, link.bandwidth);
  return link;
}

void read_links(const Json& root, const std::string& where, CostModel& costs) {
  if (!root.contains("links")) {
    return;
  }
  for (const Json& link : read_list(root, "links", where)) {
    costs.links.push_back(read_link(link, fmt::format("{}: link {}", where, costs.links.size())));
  }
}

void read_speeds(const Json& root, const std::string& where, CostModel& costs) {
  if (!root.contains("rank_speed")) {
    return;
  }
  for (const Json& speed : read_list(root, "rank_speed", where)) {
    if (!speed.is_number()) {
      throw ConfigError(
          fmt::format("{}: rank_speed holds {}; expected numbers", where, speed.type_name()));
    }
    costs.rank_speed.push_back(speed.get<double>());
  }
}

void read_rules(const Json& root, const std::string& where, CostModel& costs) {
  if (root.contains("occupies_sender")) {
    if (!root["occupies_sender"].is_boolean()) {
      throw ConfigError(fmt::format("{}: occupies_sender is {}; expected true or false", where,
                                    quote(root["occupies_sender"].dump())));
    }
    costs.occupies_sender = root["occupies_sender"].get<bool>();
  }
  if (root.contains("updates")) {
    const Json& rule = root["updates"];
    if (rule != "synchronized" && rule != "per_rank") {
      throw ConfigError(fmt::format("{}: updates is {}; expected synchronized or per_rank", where,
                                    quote(rule.dump())));
    }
    costs.updates = rule == "per_rank" ? UpdateRule::PerRank : UpdateRule::Synchronized;
  }
}

Json to_json(const StageCost& cost) {
  Json stage = {{"forward", cost.forward},
                {"input", cost.input},
                {"weight", cost.weight},
                {"update", cost.update},
                {"activation_bytes", cost.activation_bytes},
                {"gradient_bytes", cost.gradient_bytes},
                {"reduce", cost.reduce},
                {"reduce_bytes", cost.reduce_bytes}};
  if (cost.own_input) {
    stage["own_input"] = *cost.own_input;
  }
  if (cost.full) {
    stage["full"] = *cost.full;
  }
  return stage;
}

Json to_json(const StageBytes& bytes, const StateBytes& state) {
  Json object = {{"until_input", bytes.until_input},
                 {"until_weight", bytes.until_weight},
                 {"gradients", bytes.gradients},
                 {"activation_message", bytes.activation_message},
                 {"gradient_message", bytes.gradient_message},
                 {"parameters", state.parameters},
                 {"parameter_gradients", state.gradients},
                 {"optimizer", state.optimizer}};
  if (bytes.head != HeadBytes{}) {
    object["head"] = {{"until_input", bytes.head.until_input},
                      {"until_weight", bytes.head.until_weight},
                      {"gradients", bytes.head.gradients}};
  }
  return object;
}

Json to_json(const LinkCost& link) {
  Json object = {{"from", link.from}, {"to", link.to}};
  if (link.latency) {
    object["latency"] = *link.latency;
  }
  if (link.bandwidth && std::isfinite(*link.bandwidth)) {
    object["bandwidth"] = *link.bandwidth;
  }
  return object;
}

}  // namespace

CostFile parse_cost_file(std::string_view json, const std::string& source_name) {
  const Json root = parse_json(json, source_name);
  check_keys(root,
             {"stages", "latency", "bandwidth", "occupies_sender", "links", "reduce_latency",
              "reduce_bandwidth", "rank_speed", "updates"},
             source_name);
  CostFile file;
  read_stages(read_list(root, "stages", source_name), source_name, file);
  read_if_given(root, "latency", source_name, file.costs.latency);
  read_if_given(root, "bandwidth", source_name, file.costs.bandwidth);
  read_if_given(root, "reduce_latency", source_name, file.costs.reduce_latency);
  read_if_given(root, "reduce_bandwidth", source_name, file.costs.reduce_bandwidth);
  read_links(root, source_name, file.costs);
  read_speeds(root, source_name, file.costs);
  read_rules(root, source_name, file.costs);
  file.costs.check_values();
  return file;
}

std::string to_cost_file(const CostFile& file) {
  const CostModel& costs = file.costs;
  Json root = {{"stages", Json::array()},
               {"latency", costs.latency},
               {"occupies_sender", costs.occupies_sender},
               {"updates", costs.updates == UpdateRule::PerRank ? "per_rank" : "synchronized"}};
  for (std::size_t i = 0; i < costs.stages.size(); ++i) {
    Json stage = to_json(costs.stages[i]);
    if (file.memory) {
      const MemoryModel& memory = *file.memory;
      const auto number = static_cast<int>(i);
      stage["memory"] = to_json(memory.stage(number), memory.state(number));
    }
    root["stages"].push_back(std::move(stage));
  }
  if (std::isfinite(costs.bandwidth)) {
    root["bandwidth"] = costs.bandwidth;
  }
  for (const LinkCost& link : costs.links) {
    root["links"].push_back(to_json(link));
  }
  if (costs.reduce_latency) {
    root["reduce_latency"] = *costs.reduce_latency;
  }
  if (costs.reduce_bandwidth && std::isfinite(*costs.reduce_bandwidth)) {
    root["reduce_bandwidth"] = *costs.reduce_bandwidth;
  }
  if (!costs.rank_speed.empty()) {
    root["rank_speed"] = costs.rank_speed;
  }
  return root.dump(2) + '\n';
}

MemoryModel parse_memory_file(std::string_view json, const std::string& source_name) {
  const Json root = parse_json(json, source_name);
  check_keys(root, {"stages"}, source_name);
  MemoryModel memory;
  for (const Json& stage : read_list(root, "stages", source_name)) {
    append_memory(stage, fmt::format("{}: stage {}", source_name, memory.stages.size()), memory);
  }
  return memory;
}

void take_bytes(CostModel& costs, const MemoryModel& memory) {
  if (costs.stages.size() == 1) {
    costs.stages.resize(memory.stages.size(), costs.stages.front());
  }
  if (memory.stages.size() != 1 && memory.stages.size() != costs.stages.size()) {
    throw ConfigError(fmt::format(
        "memory: bytes of {} stages and costs of {}; give both for the same number of stages",
        memory.stages.size(), costs.stages.size()));
  }
  for (std::size_t i = 0; i < costs.stages.size(); ++i) {
    const StageBytes& bytes = memory.stage(static_cast<int>(i));
    StageCost& cost = costs.stages[i];
    if (cost.activation_bytes == 0.0) {
      cost.activation_bytes = static_cast<double>(bytes.activation_message);
    }
    if (cost.gradient_bytes == 0.0) {
      cost.gradient_bytes = static_cast<double>(bytes.gradient_message);
    }
    if (cost.reduce_bytes == 0.0) {
      cost.reduce_bytes = static_cast<double>(memory.state(static_cast<int>(i)).gradients);
    }
  }
}

CostFile load_cost_file(const std::filesystem::path& path) {
  return parse_cost_file(read_file(path), path.string());
}

MemoryModel load_memory_file(const std::filesystem::path& path) {
  return parse_memory_file(read_file(path), path.string());
}

void save_cost_file(const CostFile& file, const std::filesystem::path& path) {
  write_file_atomically(path, to_cost_file(file));
}

}  // namespace halfback
