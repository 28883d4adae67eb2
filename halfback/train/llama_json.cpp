#include "halfback/train/llama_json.h"

#include "halfback/base/error.h"
#include "halfback/base/json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <type_traits>

namespace halfback {

namespace {

[[noreturn]] void refuse(const std::string& source, const std::string& found) {
  throw FileError(fmt::format(
      "{}: {}; expected the config of a LLaMA as Hugging Face writes it; use such a checkpoint",
      source, found));
}

// Whether a value is what it stands for as it is: 2.5 and true are no sizes.
template <typename Value>
bool is_of(const nlohmann::json& value) {
  if constexpr (std::is_same_v<Value, std::int64_t>) {
    return value.is_number_integer();
  } else if constexpr (std::is_same_v<Value, double>) {
    return value.is_number();
  } else if constexpr (std::is_same_v<Value, bool>) {
    return value.is_boolean();
  } else {
    return value.is_string();
  }
}

// Reads one value; `otherwise` (null: none) stands for one that is not there.
template <typename Value>
Value read(const nlohmann::json& json,
           const std::string& key,
           const std::string& source,
           const nlohmann::json& otherwise = nullptr) {
  const auto found = json.find(key);
  const nlohmann::json value = found == json.end() || found->is_null() ? otherwise : *found;
  if (value.is_null()) {
    refuse(source, fmt::format("no \"{}\"", key));
  }
  if (!is_of<Value>(value)) {
    refuse(source, fmt::format("\"{}\" is {}", key, quote(value.dump())));
  }
  return value.get<Value>();
}

// Throws unless the key is absent or has the only value that this model can have.
void require(const nlohmann::json& json,
             const std::string& key,
             const nlohmann::json& only,
             const std::string& source) {
  const auto found = json.find(key);
  if (found != json.end() && !found->is_null() && *found != only) {
    refuse(source, fmt::format("\"{}\" is {}, and only {} is supported", key, quote(found->dump()),
                               only.dump()));
  }
}

// Newer files keep the base of rotary positions in rope_parameters, older ones beside it.
double rope_theta(const nlohmann::json& json, const std::string& source) {
  const auto parameters = json.find("rope_parameters");
  if (parameters != json.end() && parameters->is_object()) {
    require(*parameters, "rope_type", "default", source);
    return read<double>(*parameters, "rope_theta", source, 10000.0);
  }
  return read<double>(json, "rope_theta", source, 10000.0);
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
  if (!json.is_object()) {
    refuse(source, "no JSON object");
  }
  if (read<std::string>(json, "model_type", source) != "llama") {
    refuse(source, fmt::format("\"model_type\" is {}", quote(json.at("model_type").dump())));
  }
  require(json, "hidden_act", "silu", source);
  require(json, "attention_bias", false, source);
  require(json, "mlp_bias", false, source);
  require(json, "rope_scaling", nullptr, source);
  LlamaConfig config;
  config.num_layers = read<std::int64_t>(json, "num_hidden_layers", source);
  config.width = read<std::int64_t>(json, "hidden_size", source);
  config.num_heads = read<std::int64_t>(json, "num_attention_heads", source);
  config.num_key_value_heads =
      read<std::int64_t>(json, "num_key_value_heads", source, config.num_heads);
  config.hidden = read<std::int64_t>(json, "intermediate_size", source);
  config.sequence = read<std::int64_t>(json, "max_position_embeddings", source, 2048);
  config.vocabulary = read<std::int64_t>(json, "vocab_size", source);
  config.rope_theta = rope_theta(json, source);
  config.norm_epsilon = read<double>(json, "rms_norm_eps", source, 1e-6);
  config.has_tied_head = read<bool>(json, "tie_word_embeddings", source, false);
  if (config.width > 0 && config.num_heads > 0) {
    require(json, "head_dim", config.width / config.num_heads, source);
  }
  try {
    check(config);
  } catch (const ConfigError& error) {
    throw FileError(fmt::format("{}: {}", source, error.what()));
  }
  return config;
}

}  // namespace halfback
