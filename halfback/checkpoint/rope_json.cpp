#include "halfback/checkpoint/rope_json.h"

#include "halfback/checkpoint/config_reader.h"

#include <algorithm>
#include <cmath>

namespace halfback {

namespace {

constexpr const char* kWhat = "rotary positions: default, linear, dynamic, llama3 or yarn";
constexpr double kDefaultTheta = 10000.0;

// Returns the object that has more than the base; an empty one if there is none.
nlohmann::json parameters_of(const nlohmann::json& json, const std::string& source) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const auto found = json.find(key);
    if (found == json.end() || found->is_null() || (found->is_object() && found->empty())) {
      continue;
    }
    if (!found->is_object()) {
      ConfigReader(json, source, kWhat)
          .refuse(fmt::format("\"{}\" is {}", key, quote(found->dump())));
    }
    return *found;
  }
  return nlohmann::json::object();
}

double attention_factor(const ConfigReader& reader, double factor) {
  const auto weight = [factor](double scale) {
    return factor <= 1.0 ? 1.0 : 0.1 * scale * std::log(factor) + 1.0;
  };
  const auto scale = reader.read<double>("mscale", 0.0);
  const auto scale_all = reader.read<double>("mscale_all_dim", 0.0);
  const double usual =
      scale != 0.0 && scale_all != 0.0 ? weight(scale) / weight(scale_all) : weight(1.0);
  return reader.read<double>("attention_factor", usual);
}

class RopeReader {
 public:
  RopeReader(const nlohmann::json& json, const std::string& source, LlamaConfig& config)
      : all_(json, source, kWhat),
        parameters_(parameters_of(json, source)),
        own_(parameters_, source, kWhat),
        config_(config) {}

  void read() {
    config_.rope_theta =
        own_.read<double>("rope_theta", all_.read<double>("rope_theta", kDefaultTheta));
    all_.require("partial_rotary_factor", 1.0);
    own_.require("partial_rotary_factor", 1.0);
    const auto type =
        own_.read<std::string>("rope_type", own_.read<std::string>("type", "default"));
    own_.require_known({"rope_type", "type", "rope_theta", "partial_rotary_factor", "factor",
                        "original_max_position_embeddings", "low_freq_factor", "high_freq_factor",
                        "beta_fast", "beta_slow", "attention_factor", "mscale", "mscale_all_dim",
                        "truncate"});
    RotaryScaling& scaling = config_.rotary_scaling;
    if (type == "linear") {
      scaling = {.kind = RotaryScaling::Kind::Linear, .factor = factor()};
    } else if (type == "dynamic") {
      factor();  // changes nothing within the positions of the model
      config_.exact_length = config_.exact_length > 0
                                 ? std::min(config_.exact_length, config_.positions)
                                 : config_.positions;
    } else if (type == "llama3") {
      scaling = {.kind = RotaryScaling::Kind::Llama3,
                 .factor = factor(),
                 .original_positions = original_positions(),
                 .low = own_.read<double>("low_freq_factor"),
                 .high = own_.read<double>("high_freq_factor")};
    } else if (type == "yarn") {
      read_yarn(scaling);
    } else if (type != "default") {
      own_.refuse(fmt::format("\"rope_type\" is {}", quote(type)));
    }
    if (scaling.kind == RotaryScaling::Kind::Llama3 && !(scaling.low < scaling.high)) {
      own_.refuse(fmt::format("\"low_freq_factor\" is {} and \"high_freq_factor\" {}", scaling.low,
                              scaling.high));
    }
  }

 private:
  double factor() const {
    const auto found = own_.read<double>("factor");
    if (!(found > 0.0 && std::isfinite(found))) {
      own_.refuse(fmt::format("\"factor\" of rotary positions is {}", found));
    }
    return found;
  }

  std::int64_t original_positions() const {
    const char* const key = "original_max_position_embeddings";
    const auto inner = own_.read<std::int64_t>(key, config_.positions);
    const auto found = all_.read<std::int64_t>(key, inner);
    if (found < 1) {
      own_.refuse(fmt::format("\"{}\" is {}", key, found));
    }
    return found;
  }

  void read_yarn(RotaryScaling& scaling) const {
    scaling = {.kind = RotaryScaling::Kind::Yarn,
               .factor = factor(),
               .original_positions = original_positions(),
               .low = own_.read<double>("beta_slow", 1.0),
               .high = own_.read<double>("beta_fast", 32.0),
               .truncates = own_.read<bool>("truncate", true)};
    scaling.attention_factor = attention_factor(own_, scaling.factor);
    if (!(scaling.low > 0.0 && scaling.high > 0.0)) {
      own_.refuse(
          fmt::format("\"beta_slow\" is {} and \"beta_fast\" {}", scaling.low, scaling.high));
    }
  }

  ConfigReader all_;
  nlohmann::json parameters_;
  ConfigReader own_;
  LlamaConfig& config_;
};

}  // namespace

void read_rope(const nlohmann::json& json, const std::string& source, LlamaConfig& config) {
  RopeReader(json, source, config).read();
}

}  // namespace halfback
