#include "halfback/train/resnet_json.h"

#include "halfback/base/error.h"
#include "halfback/base/json.h"
#include "halfback/base/text.h"
#include "halfback/train/json_size.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <optional>
#include <string_view>

namespace halfback {

namespace {

constexpr std::string_view kArchitecture = "resnet";
constexpr std::int64_t kSmallestBottleneckDepth = 50;
constexpr std::int64_t kUsualWidth = 64;

[[noreturn]] void refuse(const std::string& source, const std::string& found) {
  throw FileError(
      fmt::format("{}: {}; expected the config of a ResNet of depth 18, 34, 50, 101 or 152 as timm "
                  "writes it; use such a checkpoint",
                  source, found));
}

std::int64_t num_features(const ResnetConfig& config) {
  return config.width * 8 * (config.depth >= kSmallestBottleneckDepth ? 4 : 1);
}

std::int64_t read_depth(const nlohmann::json& json, const std::string& source) {
  const nlohmann::json name = json.value("architecture", nlohmann::json());
  const std::string text = name.is_string() ? name.get<std::string>() : std::string();
  const auto depth = text.starts_with(kArchitecture)
                         ? parse_integer(std::string_view(text).substr(kArchitecture.size()))
                         : std::nullopt;
  if (!depth) {
    refuse(source, fmt::format("\"architecture\" is {}", quote(name.dump())));
  }
  return *depth;
}

bool read_has_small_stem(const nlohmann::json& json, const std::string& source) {
  const nlohmann::json value = json.value("small_image_stem", nlohmann::json(false));
  if (!value.is_boolean()) {
    refuse(source, fmt::format("\"small_image_stem\" is {}", quote(value.dump())));
  }
  return value.get<bool>();
}

void read_input_size(const nlohmann::json& json, const std::string& source, ResnetConfig& config) {
  const auto details = json.find("pretrained_cfg");
  if (details == json.end() || !details->is_object() || !details->contains("input_size")) {
    return;
  }
  const nlohmann::json& size = details->at("input_size");
  const auto is_size = [](const nlohmann::json& one) { return one.is_number_integer(); };
  if (!size.is_array() || size.size() != 3 || !std::all_of(size.begin(), size.end(), is_size)) {
    refuse(source, fmt::format("\"input_size\" is {}", quote(size.dump())));
  }
  config.image_channels = size[0].get<std::int64_t>();
  config.image_height = size[1].get<std::int64_t>();
  config.image_width = size[2].get<std::int64_t>();
}

void refuse_arguments(const nlohmann::json& json, const std::string& source) {
  const auto found = json.find("model_args");
  if (found != json.end() && !found->is_null() && !found->empty()) {
    refuse(source, fmt::format("\"model_args\" are {}", quote(found->dump())));
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
  if (!json.is_object()) {
    refuse(source, "no JSON object");
  }
  refuse_arguments(json, source);
  ResnetConfig config{.depth = read_depth(json, source)};
  config.width = detail::read_size(json, "width", source, kUsualWidth);
  config.num_classes = detail::read_size(json, "num_classes", source);
  config.has_small_stem = read_has_small_stem(json, source);
  read_input_size(json, source, config);
  try {
    check(config);
  } catch (const ConfigError& error) {
    throw FileError(fmt::format("{}: {}", source, error.what()));
  }
  const std::int64_t features =
      detail::read_size(json, "num_features", source, num_features(config));
  if (features != num_features(config)) {
    refuse(source, fmt::format("\"num_features\" is {} where its depth and width make {}", features,
                               num_features(config)));
  }
  return config;
}

}  // namespace halfback
