#include "halfback/checkpoint/mamba_json.h"

#include "halfback/checkpoint/config_reader.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace halfback {

namespace {

constexpr const char* kDefaultRank = "auto";
constexpr std::int64_t kDefaultSequence = 2048;

// Returns 0 for the text that means the default.
std::int64_t read_rank(const nlohmann::json& json, const ConfigReader& reader) {
  const auto rank = json.find("time_step_rank");
  if (rank != json.end() && *rank == kDefaultRank) {
    return 0;
  }
  return reader.read<std::int64_t>("time_step_rank", 0);
}

}  // namespace

nlohmann::json mamba_to_json(const MambaConfig& config) {
  return {{"architectures", {"MambaForCausalLM"}},
          {"model_type", "mamba"},
          {"hidden_act", "silu"},
          {"hidden_size", config.width},
          {"intermediate_size", config.expand * config.width},
          {"expand", config.expand},
          {"state_size", config.state_size},
          {"conv_kernel", config.conv_size},
          {"time_step_rank", config.dt_rank > 0 ? nlohmann::json(config.dt_rank) : kDefaultRank},
          {"num_hidden_layers", config.num_layers},
          {kSequenceKey, config.sequence},
          {"vocab_size", config.vocabulary},
          {"layer_norm_epsilon", config.norm_epsilon},
          {"tie_word_embeddings", config.has_tied_head},
          {"use_bias", false},
          {"use_conv_bias", true},
          {"residual_in_fp32", true},
          {"rescale_prenorm_residual", false},  // true: transformers 5.23 scales what it loads
          {"pad_token_id", nullptr},
          {"bos_token_id", nullptr},
          {"eos_token_id", nullptr},
          {"torch_dtype", "float32"}};
}

MambaConfig mamba_from_json(const nlohmann::json& json, const std::string& source) {
  const ConfigReader reader(json, source, "a Mamba");
  if (const auto type = reader.read<std::string>("model_type"); type != MambaConfig::kName) {
    reader.refuse(fmt::format("\"model_type\" is {}", quote(json.at("model_type").dump())));
  }
  reader.require("hidden_act", "silu");
  reader.require("use_bias", false);
  reader.require("use_conv_bias", true);
  MambaConfig config;
  config.num_layers = reader.read<std::int64_t>("num_hidden_layers");
  config.width = reader.read<std::int64_t>("hidden_size");
  config.state_size = reader.read<std::int64_t>("state_size", 16);
  config.conv_size = reader.read<std::int64_t>("conv_kernel", 4);
  config.expand = reader.read<std::int64_t>("expand", 2);
  config.dt_rank = read_rank(json, reader);
  // The model has no maximum length; our earlier files have the training length here.
  config.sequence = reader.read<std::int64_t>(
      kSequenceKey, reader.read<std::int64_t>("max_position_embeddings", kDefaultSequence));
  config.vocabulary = reader.read<std::int64_t>("vocab_size");
  config.norm_epsilon = reader.read<double>("layer_norm_epsilon", 1e-5);
  config.has_tied_head = reader.read<bool>("tie_word_embeddings", true);
  reader.require_possible(config);
  reader.require("intermediate_size", config.expand * config.width);
  reader.require_known({"time_step_rank", "residual_in_fp32", "rescale_prenorm_residual",
                        "time_step_floor", "time_step_init_scheme", "time_step_max",
                        "time_step_min", "time_step_scale", "use_mambapy", "use_associative_scan"});
  return resolved(config);
}

}  // namespace halfback
