#include "halfback/checkpoint/resnet_json.h"

#include "halfback/base/text.h"
#include "halfback/checkpoint/config_reader.h"

#include <algorithm>
#include <optional>
#include <string_view>

namespace halfback {

namespace {

constexpr std::string_view kArchitecture = "resnet";
constexpr std::int64_t kUsualWidth = 64;

constexpr const char* kWhat = "a ResNet of a known depth as timm writes it";

std::int64_t read_depth(const ConfigReader& reader) {
  const auto text = reader.read<std::string>("architecture");
  const auto depth = text.starts_with(kArchitecture)
                         ? parse_integer(std::string_view(text).substr(kArchitecture.size()))
                         : std::nullopt;
  if (!depth) {
    reader.refuse(fmt::format("\"architecture\" is {}", quote(text)));
  }
  return *depth;
}

void read_input_size(const nlohmann::json& json, const ConfigReader& reader, ResnetConfig& config) {
  const auto details = json.find("pretrained_cfg");
  if (details == json.end() || !details->is_object() || !details->contains("input_size")) {
    return;
  }
  const nlohmann::json& size = details->at("input_size");
  const auto is_size = [](const nlohmann::json& one) { return one.is_number_integer(); };
  if (!size.is_array() || size.size() != 3 || !std::all_of(size.begin(), size.end(), is_size)) {
    reader.refuse(fmt::format("\"input_size\" is {}", quote(size.dump())));
  }
  config.image_channels = size[0].get<std::int64_t>();
  config.image_height = size[1].get<std::int64_t>();
  config.image_width = size[2].get<std::int64_t>();
}

void refuse_arguments(const nlohmann::json& json, const ConfigReader& reader) {
  const auto found = json.find("model_args");
  if (found != json.end() && !found->is_null() && !found->empty()) {
    reader.refuse(fmt::format("\"model_args\" are {}", quote(found->dump())));
  }
}

}  // namespace

nlohmann::json resnet_to_json(const ResnetConfig& config) {
  return {{"architecture", fmt::format("{}{}", kArchitecture, config.depth)},
          {"num_classes", config.num_classes},
          {"num_features", num_features(config)},
          {"pretrained_cfg",
           {{"input_size", {config.image_channels, config.image_height, config.image_width}},
            {"num_classes", config.num_classes},
            {"first_conv", "conv1"},
            {"classifier", "fc"}}},
          {"width", config.width},
          {"small_image_stem", config.has_small_stem}};
}

ResnetConfig resnet_from_json(const nlohmann::json& json, const std::string& source) {
  const ConfigReader reader(json, source, kWhat);
  refuse_arguments(json, reader);
  reader.require("global_pool", "avg");
  reader.require_known({"architecture", "num_classes", "num_features", "pretrained_cfg", "width",
                        "small_image_stem", "model_args", "global_pool", "label_names",
                        "label_descriptions"});
  // Missing values are those for ImageNet.
  ResnetConfig config{.depth = read_depth(reader),
                      .image_channels = 3,
                      .image_height = 224,
                      .image_width = 224,
                      .has_small_stem = false};
  config.width = reader.read<std::int64_t>("width", kUsualWidth);
  config.num_classes = reader.read<std::int64_t>("num_classes");
  config.has_small_stem = reader.read<bool>("small_image_stem", false);
  read_input_size(json, reader, config);
  reader.require_possible(config);
  const auto features = reader.read<std::int64_t>("num_features", num_features(config));
  if (features != num_features(config)) {
    reader.refuse(fmt::format("\"num_features\" is {} where its depth and width make {}", features,
                              num_features(config)));
  }
  return config;
}

}  // namespace halfback
