#include "halfback/checkpoint/cnn_json.h"

#include "halfback/checkpoint/config_reader.h"

namespace halfback {

nlohmann::json cnn_to_json(const CnnConfig& config) {
  return {{"architecture", CnnConfig::kName},
          {"num_layers", config.num_layers},
          {"width", config.width},
          {"hidden", config.hidden},
          {"num_classes", config.num_classes},
          {"image_channels", config.image_channels},
          {"image_height", config.image_height},
          {"image_width", config.image_width}};
}

CnnConfig cnn_from_json(const nlohmann::json& json, const std::string& source) {
  const ConfigReader reader(json, source, "a convolutional network");
  reader.require("architecture", CnnConfig::kName);
  const auto number = [&](const char* name) { return reader.read<std::int64_t>(name); };
  const CnnConfig config{.num_layers = number("num_layers"),
                         .width = number("width"),
                         .hidden = number("hidden"),
                         .num_classes = number("num_classes"),
                         .image_channels = number("image_channels"),
                         .image_height = number("image_height"),
                         .image_width = number("image_width")};
  reader.require_possible(config);
  return config;
}

}  // namespace halfback
