#include "halfback/checkpoint/bert_json.h"

#include "halfback/checkpoint/config_reader.h"

namespace halfback {

namespace {

bool is_variant(const BertConfig& config) {
  return config.has_rms_norm || config.has_sinusoid_positions;
}

// A head for another task counts as none.
bool is_encoder_alone(const nlohmann::json& json) {
  const auto found = json.find("architectures");
  if (found == json.end() || !found->is_array() || found->empty() || !found->front().is_string()) {
    return false;
  }
  const auto name = found->front().get<std::string>();
  return name == "BertModel" ||
         (name.starts_with("BertFor") && name != "BertForMaskedLM" && name != "BertForPreTraining");
}

}  // namespace

nlohmann::json bert_to_json(const BertConfig& config) {
  nlohmann::json json = {{"architectures", {config.has_head ? "BertForMaskedLM" : "BertModel"}},
                         {"model_type", is_variant(config) ? kBertVariantType : kBertType},
                         {"hidden_act", "gelu"},
                         {"hidden_size", config.width},
                         {"intermediate_size", config.hidden},
                         {"num_hidden_layers", config.num_layers},
                         {"num_attention_heads", config.num_heads},
                         {"max_position_embeddings", config.num_positions()},
                         {"vocab_size", config.vocabulary},
                         {"type_vocab_size", config.num_segments},
                         {"layer_norm_eps", config.norm_epsilon},
                         {"hidden_dropout_prob", config.dropout},
                         {"attention_probs_dropout_prob", 0.0},
                         {"position_embedding_type", "absolute"},
                         {"tie_word_embeddings", true},
                         {"halfback_masked_fraction", config.masked_fraction},
                         {"halfback_rms_norm", config.has_rms_norm},
                         {"halfback_sinusoid_positions", config.has_sinusoid_positions},
                         {"torch_dtype", "float32"}};
  write_sequence(config.sequence, config.num_positions(), json);
  return json;
}

BertConfig bert_from_json(const nlohmann::json& json, const std::string& source) {
  const ConfigReader reader(json, source, "a BERT as Hugging Face writes it");
  reader.require("hidden_act", "gelu");
  reader.require("position_embedding_type", "absolute");
  reader.require("tie_word_embeddings", true);
  reader.require("is_decoder", false);
  BertConfig config;
  config.num_layers = reader.read<std::int64_t>("num_hidden_layers");
  config.width = reader.read<std::int64_t>("hidden_size");
  config.num_heads = reader.read<std::int64_t>("num_attention_heads");
  config.hidden = reader.read<std::int64_t>("intermediate_size");
  config.positions = reader.read<std::int64_t>("max_position_embeddings");
  config.sequence = reader.read_sequence(config.positions);
  config.vocabulary = reader.read<std::int64_t>("vocab_size");
  config.num_segments = reader.read<std::int64_t>("type_vocab_size", 2);
  config.norm_epsilon = reader.read<double>("layer_norm_eps", 1e-12);
  config.dropout = reader.read<double>("hidden_dropout_prob", 0.1);
  config.masked_fraction = reader.read<double>("halfback_masked_fraction", 0.15);
  config.has_rms_norm = reader.read<bool>("halfback_rms_norm", false);
  config.has_sinusoid_positions = reader.read<bool>("halfback_sinusoid_positions", false);
  config.has_head = !is_encoder_alone(json);
  reader.require_known({"attention_probs_dropout_prob", "classifier_dropout", "pooler_fc_size",
                        "pooler_num_attention_heads", "pooler_num_fc_layers",
                        "pooler_size_per_head", "pooler_type", "directionality"});
  reader.require_possible(config);
  return config;
}

}  // namespace halfback
