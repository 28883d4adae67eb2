#include "halfback/models/model.h"

#include "halfback/base/error.h"
#include "halfback/base/text.h"
#include "halfback/models/local_heads.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <type_traits>

namespace halfback {

namespace {

// Returns one of each model, in its default sizes.
const std::vector<ModelConfig>& all_models() {
  static const std::vector<ModelConfig> all = {LlamaConfig{},  BertConfig{}, MambaConfig{},
                                               ResnetConfig{}, CnnConfig{},  MlpConfig{}};
  return all;
}

std::vector<StageLayers> build(const LlamaConfig& config,
                               const std::vector<int>& blocks,
                               at::ScalarType dtype) {
  return build_llama(config, blocks, dtype);
}
std::vector<StageLayers> build(const BertConfig& config,
                               const std::vector<int>& blocks,
                               at::ScalarType dtype) {
  return build_bert(config, blocks, dtype);
}
std::vector<StageLayers> build(const MambaConfig& config,
                               const std::vector<int>& blocks,
                               at::ScalarType dtype) {
  return build_mamba(config, blocks, dtype);
}
std::vector<StageLayers> build(const ResnetConfig& config,
                               const std::vector<int>& blocks,
                               at::ScalarType /*dtype*/) {
  return build_resnet(config, blocks);
}
std::vector<StageLayers> build(const CnnConfig& config,
                               const std::vector<int>& blocks,
                               at::ScalarType /*dtype*/) {
  return build_cnn(config, blocks);
}
std::vector<StageLayers> build(const MlpConfig& config,
                               const std::vector<int>& blocks,
                               at::ScalarType /*dtype*/) {
  return build_mlp(config, blocks);
}

template <typename Config>
Config resolve(const Config& config) {
  return config;
}
LlamaConfig resolve(const LlamaConfig& config) { return resolved(config); }
BertConfig resolve(const BertConfig& config) { return resolved(config); }
MambaConfig resolve(const MambaConfig& config) { return resolved(config); }

template <typename Config>
int count_blocks(const Config& config) {
  return static_cast<int>(config.num_layers);
}
int count_blocks(const ResnetConfig& config) { return num_blocks(config); }
int count_blocks(const CnnConfig& config) { return num_blocks(config); }

// Returns the shape of one sample.
template <typename Config>
std::vector<std::int64_t> sample_shape(const Config& config) {
  return {config.sequence};
}
std::vector<std::int64_t> sample_shape(const ResnetConfig& config) {
  return {config.image_channels, config.image_height, config.image_width};
}
std::vector<std::int64_t> sample_shape(const CnnConfig& config) {
  return {config.image_channels, config.image_height, config.image_width};
}
std::vector<std::int64_t> sample_shape(const MlpConfig& config) { return {config.num_inputs}; }

template <typename Config>
std::int64_t outcomes(const Config& config) {
  return config.vocabulary;
}
std::int64_t outcomes(const ResnetConfig& config) { return config.num_classes; }
std::int64_t outcomes(const CnnConfig& config) { return config.num_classes; }
std::int64_t outcomes(const MlpConfig& config) { return config.num_classes; }

}  // namespace

std::vector<std::string> model_names() {
  std::vector<std::string> names;
  for (const ModelConfig& one : all_models()) {
    names.push_back(model_name(one));
  }
  return names;
}

ModelConfig default_model(const std::string& name) {
  for (const ModelConfig& one : all_models()) {
    if (model_name(one) == name) {
      return one;
    }
  }
  const std::vector<std::string> names = model_names();
  throw ConfigError(fmt::format("--model is '{}'{}; known are {}", name.substr(0, 40),
                                suggestion(name, names), fmt::join(names, ", ")));
}

std::string model_name(const ModelConfig& config) {
  return std::visit([](const auto& one) { return std::string(std::decay_t<decltype(one)>::kName); },
                    config);
}

Task task_of(const ModelConfig& config) {
  if (std::holds_alternative<BertConfig>(config)) {
    return Task::MaskedToken;
  }
  const bool has_images = std::holds_alternative<ResnetConfig>(config) ||
                          std::holds_alternative<CnnConfig>(config) ||
                          std::holds_alternative<MlpConfig>(config);
  return has_images ? Task::Classes : Task::NextToken;
}

ModelSizes sizes_of(ModelConfig& config) {
  return std::visit([](auto& one) { return sizes_of(one); }, config);
}

std::string size_text(ModelConfig config, const std::string& name) {
  const ModelSizes sizes = sizes_of(config);
  const auto found = std::find_if(sizes.begin(), sizes.end(),
                                  [&](const ModelSize& size) { return size.name == name; });
  return found == sizes.end() ? "" : to_text(*found);
}

ModelConfig resolved(const ModelConfig& config) {
  return std::visit([](const auto& one) { return ModelConfig(resolve(one)); }, config);
}

void check(const ModelConfig& config) {
  std::visit([](const auto& one) { check(one); }, config);
}

std::int64_t num_parameters(const ModelConfig& config) {
  return std::visit([](const auto& one) { return num_parameters(one); }, config);
}

int num_blocks(const ModelConfig& config) {
  return std::visit([](const auto& one) { return count_blocks(one); }, config);
}

std::string describe(const ModelConfig& config) {
  std::string text = model_name(config) + ":";
  for (const char* name : {"depth", "layers", "width", "heads", "hidden", "sequence", "classes"}) {
    const std::string value = size_text(config, name);
    if (!value.empty()) {
      text += fmt::format(" {} {},", name, value);
    }
  }
  text.pop_back();
  return fmt::format("{}; {:.2f} M parameters", text,
                     static_cast<double>(num_parameters(config)) * 1e-6);
}

std::vector<std::int64_t> input_shape(const ModelConfig& config, std::int64_t num_samples) {
  std::vector<std::int64_t> shape =
      std::visit([](const auto& one) { return sample_shape(one); }, config);
  shape.insert(shape.begin(), num_samples);
  return shape;
}

std::int64_t num_outcomes(const ModelConfig& config) {
  return std::visit([](const auto& one) { return outcomes(one); }, config);
}

std::string item_name(const ModelConfig& config) {
  return task_of(config) == Task::Classes ? "images" : "tokens";
}

std::int64_t items_per_sample(const ModelConfig& config) {
  return task_of(config) == Task::Classes ? 1 : input_shape(config, 1).back();
}

std::vector<StageLayers> build_model(const ModelConfig& config,
                                     const std::vector<int>& blocks_per_stage,
                                     const BuildOptions& options) {
  std::vector<StageLayers> stages = std::visit(
      [&](const auto& one) { return build(one, blocks_per_stage, options.dtype); }, config);
  apply_recompute(options.recompute, stages);
  add_local_heads(config, options, stages);
  return stages;
}

}  // namespace halfback
