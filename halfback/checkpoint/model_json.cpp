#include "halfback/checkpoint/model_json.h"

#include "halfback/checkpoint/bert_json.h"
#include "halfback/checkpoint/cnn_json.h"
#include "halfback/checkpoint/config_reader.h"
#include "halfback/checkpoint/llama_json.h"
#include "halfback/checkpoint/mamba_json.h"
#include "halfback/checkpoint/mlp_json.h"
#include "halfback/checkpoint/resnet_json.h"

#include <fmt/format.h>

namespace halfback {

namespace {

nlohmann::json to_json(const LlamaConfig& config) { return llama_to_json(config); }
nlohmann::json to_json(const BertConfig& config) { return bert_to_json(config); }
nlohmann::json to_json(const MambaConfig& config) { return mamba_to_json(config); }
nlohmann::json to_json(const ResnetConfig& config) { return resnet_to_json(config); }
nlohmann::json to_json(const CnnConfig& config) { return cnn_to_json(config); }
nlohmann::json to_json(const MlpConfig& config) { return mlp_to_json(config); }

}  // namespace

nlohmann::json model_to_json(const ModelConfig& config) {
  return std::visit([](const auto& one) { return to_json(one); }, config);
}

ModelConfig model_from_json(const nlohmann::json& json, const std::string& source) {
  const ConfigReader reader(json, source, "a model");
  // Image models are recognized by their architecture, as timm does.
  if (const auto architecture = reader.read<std::string>("architecture", "");
      !architecture.empty()) {
    if (architecture == MlpConfig::kName) {
      return mlp_from_json(json, source);
    }
    if (architecture == CnnConfig::kName) {
      return cnn_from_json(json, source);
    }
    return resnet_from_json(json, source);
  }
  const auto type = reader.read<std::string>("model_type");
  if (type == "llama" || type == "mistral" || type == "qwen2") {
    return llama_from_json(json, source);
  }
  if (type == MambaConfig::kName) {
    return mamba_from_json(json, source);
  }
  if (type == kBertType || type == kBertVariantType) {
    return bert_from_json(json, source);
  }
  throw FileError(
      fmt::format("{}: \"model_type\" is {}; known are llama, mistral, qwen2, bert, mamba, and the "
                  "\"architecture\" of timm for a resnet; use such a checkpoint",
                  source, quote(type)));
}

}  // namespace halfback
