#include "halfback/train/llama_json.h"

#include "halfback/train/config_reader.h"

namespace halfback {

namespace {

constexpr const char* kWhat = "a LLaMA as Hugging Face writes it";

// Newer files keep the base of rotary positions in rope_parameters, older ones beside it.
double rope_theta(const nlohmann::json& json, const std::string& source) {
  const auto parameters = json.find("rope_parameters");
  const bool is_newer = parameters != json.end() && parameters->is_object();
  const ConfigReader reader(is_newer ? *parameters : json, source, kWhat);
  if (is_newer) {
    reader.require("rope_type", "default");
  }
  return reader.read<double>("rope_theta", 10000.0);
}

}  // namespace

nlohmann::json llama_to_json(const LlamaConfig& config) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_act", "silu"},
          {"hidden_size", config.width},
          {"intermediate_size", config.hidden},
          {"num_hidden_layers", config.num_layers},
          {"num_attention_heads", config.num_heads},
          {"num_key_value_heads", config.num_key_value_heads},
          {"max_position_embeddings", config.sequence},
          {"vocab_size", config.vocabulary},
          {"rms_norm_eps", config.norm_epsilon},
          {"rope_theta", config.rope_theta},
          {"tie_word_embeddings", config.has_tied_head},
          {"attention_bias", false},
          {"mlp_bias", false},
          {"bos_token_id", nullptr},
          {"eos_token_id", nullptr},
          {"torch_dtype", "float32"}};
}

LlamaConfig llama_from_json(const nlohmann::json& json, const std::string& source) {
  const ConfigReader reader(json, source, kWhat);
  if (const auto type = reader.read<std::string>("model_type"); type != "llama") {
    reader.refuse(fmt::format("\"model_type\" is {}", quote(json.at("model_type").dump())));
  }
  reader.require("hidden_act", "silu");
  reader.require("attention_bias", false);
  reader.require("mlp_bias", false);
  reader.require("rope_scaling", nullptr);
  LlamaConfig config;
  config.num_layers = reader.read<std::int64_t>("num_hidden_layers");
  config.width = reader.read<std::int64_t>("hidden_size");
  config.num_heads = reader.read<std::int64_t>("num_attention_heads");
  config.num_key_value_heads = reader.read<std::int64_t>("num_key_value_heads", config.num_heads);
  config.hidden = reader.read<std::int64_t>("intermediate_size");
  config.sequence = reader.read<std::int64_t>("max_position_embeddings", 2048);
  config.vocabulary = reader.read<std::int64_t>("vocab_size");
  config.rope_theta = rope_theta(json, source);
  config.norm_epsilon = reader.read<double>("rms_norm_eps", 1e-6);
  config.has_tied_head = reader.read<bool>("tie_word_embeddings", false);
  if (config.width > 0 && config.num_heads > 0) {
    reader.require("head_dim", config.width / config.num_heads);
  }
  reader.require_possible(config);
  return config;
}

}  // namespace halfback
