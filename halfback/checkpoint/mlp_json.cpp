#include "halfback/checkpoint/mlp_json.h"

#include "halfback/checkpoint/config_reader.h"

namespace halfback {

nlohmann::json mlp_to_json(const MlpConfig& config) {
  return {{"architecture", MlpConfig::kName},
          {"num_layers", config.num_layers},
          {"num_inputs", config.num_inputs},
          {"width", config.width},
          {"num_classes", config.num_classes}};
}

MlpConfig mlp_from_json(const nlohmann::json& json, const std::string& source) {
  const ConfigReader reader(json, source, "a multilayer perceptron");
  reader.require("architecture", MlpConfig::kName);
  const MlpConfig config{.num_layers = reader.read<std::int64_t>("num_layers"),
                         .num_inputs = reader.read<std::int64_t>("num_inputs"),
                         .width = reader.read<std::int64_t>("width"),
                         .num_classes = reader.read<std::int64_t>("num_classes")};
  reader.require_possible(config);
  return config;
}

}  // namespace halfback
