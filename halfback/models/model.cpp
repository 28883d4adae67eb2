#include "halfback/models/model.h"

#include "halfback/base/error.h"
#include "halfback/base/text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <type_traits>

namespace halfback {

namespace {

// One of each, in their default sizes.
const std::vector<ModelConfig>& all_models() {
  static const std::vector<ModelConfig> all = {LlamaConfig{}, BertConfig{}, MambaConfig{}};
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
  return std::holds_alternative<BertConfig>(config) ? Task::MaskedToken : Task::NextToken;
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

void check(const ModelConfig& config) {
  std::visit([](const auto& one) { check(one); }, config);
}

std::int64_t num_parameters(const ModelConfig& config) {
  return std::visit([](const auto& one) { return num_parameters(one); }, config);
}

int num_blocks(const ModelConfig& config) {
  return std::visit([](const auto& one) { return static_cast<int>(one.num_layers); }, config);
}

std::string describe(const ModelConfig& config) {
  std::string text = model_name(config) + ":";
  for (const char* name : {"layers", "width", "heads", "hidden", "sequence"}) {
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
  return std::visit(
      [&](const auto& one) {
        return std::vector<std::int64_t>{num_samples, one.sequence};
      },
      config);
}

std::int64_t vocabulary_of(const ModelConfig& config) {
  return std::visit([](const auto& one) { return one.vocabulary; }, config);
}

std::string item_name(const ModelConfig& /*config*/) { return "tokens"; }

std::int64_t items_per_sample(const ModelConfig& config) {
  return std::visit([](const auto& one) { return one.sequence; }, config);
}

std::vector<StageLayers> build_model(const ModelConfig& config,
                                     const std::vector<int>& blocks_per_stage,
                                     at::ScalarType dtype) {
  return std::visit([&](const auto& one) { return build(one, blocks_per_stage, dtype); }, config);
}

}  // namespace halfback
