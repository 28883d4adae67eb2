#include "halfback/train/mlp_json.h"

#include "halfback/base/error.h"
#include "halfback/base/json.h"
#include "halfback/train/json_size.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace halfback {

namespace {

constexpr const char* kArchitecture = "mlp";

}  // namespace

nlohmann::json mlp_to_json(const MlpConfig& config) {
  return {{"architecture", kArchitecture},
          {"num_layers", config.num_layers},
          {"num_inputs", config.num_inputs},
          {"width", config.width},
          {"num_classes", config.num_classes}};
}

MlpConfig mlp_from_json(const nlohmann::json& json, const std::string& source) {
  const nlohmann::json name =
      json.is_object() ? json.value("architecture", nlohmann::json()) : nlohmann::json();
  if (name != kArchitecture) {
    throw FileError(fmt::format(
        "{}: \"architecture\" is {}; expected \"{}\"; use the config of such a checkpoint", source,
        quote(name.dump()), kArchitecture));
  }
  const MlpConfig config{.num_layers = detail::read_size(json, "num_layers", source),
                         .num_inputs = detail::read_size(json, "num_inputs", source),
                         .width = detail::read_size(json, "width", source),
                         .num_classes = detail::read_size(json, "num_classes", source)};
  try {
    check(config);
  } catch (const ConfigError& error) {
    throw FileError(fmt::format("{}: {}", source, error.what()));
  }
  return config;
}

}  // namespace halfback
