#include "halfback/checkpoint/llama_json.h"

#include "halfback/checkpoint/config_reader.h"
#include "halfback/checkpoint/rope_json.h"

#include <algorithm>
#include <array>

namespace halfback {

namespace {

constexpr const char* kWhat = "a LLaMA, Mistral or Qwen2 as Hugging Face writes it";

// What a file means if a key is missing: transformers' defaults.
struct Kind {
  const char* type;
  const char* architecture;
  std::int64_t positions;
  std::int64_t num_key_value_heads;  // 0: as many as heads
  std::int64_t window;               // 0: none
  bool has_input_bias;
};
constexpr std::array<Kind, 3> kKinds = {{
    {"llama", "LlamaForCausalLM", 2048, 0, 0, false},
    {"mistral", "MistralForCausalLM", 131072, 8, 4096, false},
    {"qwen2", "Qwen2ForCausalLM", 32768, 32, 4096, true},
}};
constexpr std::size_t kLlama = 0;
constexpr std::size_t kMistral = 1;
constexpr std::size_t kQwen2 = 2;

// Returns the kind with such layers; only a LLaMA's width must be that of its heads.
const Kind& kind_of(const LlamaConfig& config) {
  if (config.has_input_bias && !config.has_output_bias) {
    return kKinds[kQwen2];
  }
  const bool has_llama_heads = config.width % config.num_heads == 0;
  return kKinds[has_llama_heads || config.has_input_bias ? kLlama : kMistral];
}

std::int64_t longest_sequence(const LlamaConfig& config) {
  return config.exact_length > 0 ? std::min(config.exact_length, config.num_positions())
                                 : config.num_positions();
}

// Returns the size of the sliding window of attention; 0 if it never slides.
std::int64_t read_window(const nlohmann::json& json, const ConfigReader& reader, const Kind& kind) {
  const bool has_window = kind.type == kKinds[kQwen2].type
                              ? reader.read<bool>("use_sliding_window", false)
                              : kind.window > 0;
  if (!has_window) {
    return 0;
  }
  const auto found = json.find("sliding_window");
  if (found != json.end() && found->is_null()) {
    return 0;
  }
  const auto window = reader.read<std::int64_t>("sliding_window", kind.window);
  if (window < 1) {
    reader.refuse(fmt::format("\"sliding_window\" is {}", window));
  }
  return window;
}

void require_one_kind_of_attention(const nlohmann::json& json,
                                   const ConfigReader& reader,
                                   std::int64_t window) {
  const auto found = json.find("layer_types");
  if (found == json.end() || found->is_null()) {
    return;
  }
  const auto is_known = [&](const nlohmann::json& one) {
    return one == "full_attention" || (one == "sliding_attention" && window > 0);
  };
  if (!found->is_array() || !std::all_of(found->begin(), found->end(), is_known)) {
    reader.refuse(fmt::format("\"layer_types\" is {}", quote(found->dump())));
  }
}

}  // namespace

nlohmann::json llama_to_json(const LlamaConfig& config) {
  const Kind& kind = kind_of(config);
  nlohmann::json json = {{"architectures", {kind.architecture}},
                         {"model_type", kind.type},
                         {"hidden_act", "silu"},
                         {"hidden_size", config.width},
                         {"intermediate_size", config.hidden},
                         {"num_hidden_layers", config.num_layers},
                         {"num_attention_heads", config.num_heads},
                         {"num_key_value_heads", config.num_key_value_heads},
                         {"max_position_embeddings", config.num_positions()},
                         {"vocab_size", config.vocabulary},
                         {"rms_norm_eps", config.norm_epsilon},
                         {"rope_theta", config.rope_theta},
                         {"tie_word_embeddings", config.has_tied_head},
                         {"bos_token_id", nullptr},
                         {"eos_token_id", nullptr},
                         {"torch_dtype", "float32"}};
  if (kind.type == kKinds[kLlama].type) {
    json["attention_bias"] = config.has_output_bias;
    json["mlp_bias"] = config.has_feed_forward_bias;
  } else {
    json["sliding_window"] = nullptr;
  }
  if (config.channels_of_head() * config.num_heads != config.width) {
    json["head_dim"] = config.channels_of_head();
  }
  write_sequence(config.sequence, longest_sequence(config), json);
  return json;
}

LlamaConfig llama_from_json(const nlohmann::json& json, const std::string& source) {
  const ConfigReader reader(json, source, kWhat);
  const auto type = reader.read<std::string>("model_type");
  const auto* const kind =
      std::find_if(kKinds.begin(), kKinds.end(), [&](const Kind& one) { return type == one.type; });
  if (kind == kKinds.end()) {
    reader.refuse(fmt::format("\"model_type\" is {}", quote(json.at("model_type").dump())));
  }
  reader.require("hidden_act", "silu");
  LlamaConfig config;
  config.num_layers = reader.read<std::int64_t>("num_hidden_layers");
  config.width = reader.read<std::int64_t>("hidden_size");
  config.num_heads = reader.read<std::int64_t>("num_attention_heads");
  config.num_key_value_heads = reader.read<std::int64_t>(
      "num_key_value_heads", kind->num_key_value_heads > 0 && !json.contains("num_key_value_heads")
                                 ? kind->num_key_value_heads
                                 : config.num_heads);
  config.head_size = reader.read<std::int64_t>("head_dim", 0);
  config.hidden = reader.read<std::int64_t>("intermediate_size");
  config.positions = reader.read<std::int64_t>("max_position_embeddings", kind->positions);
  config.vocabulary = reader.read<std::int64_t>("vocab_size");
  config.norm_epsilon = reader.read<double>("rms_norm_eps", 1e-6);
  config.has_tied_head = reader.read<bool>("tie_word_embeddings", false);
  config.has_output_bias = reader.read<bool>("attention_bias", false);
  config.has_input_bias = kind->has_input_bias || config.has_output_bias;
  config.has_feed_forward_bias = reader.read<bool>("mlp_bias", false);
  if (config.has_output_bias && kind->type != kKinds[kLlama].type) {
    reader.require("attention_bias", false);
  }
  const std::int64_t window = read_window(json, reader, *kind);
  require_one_kind_of_attention(json, reader, window);
  config.exact_length = window;
  read_rope(json, source, config);
  reader.require_known({"sliding_window", "use_sliding_window", "max_window_layers", "layer_types",
                        "rope_theta", "rope_scaling", "rope_parameters", "partial_rotary_factor",
                        "original_max_position_embeddings", "pretraining_tp", "attention_dropout",
                        kSequenceKey});
  config.sequence = reader.read_sequence(longest_sequence(config));
  reader.require_possible(config);
  return resolved(config);
}

}  // namespace halfback
