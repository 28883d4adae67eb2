// For transformers_loads.py: writes a checkpoint that we trained, a process for each stage, with
// the logits that we compute from it, or the logits that we compute from a checkpoint of somebody
// else. For tokenizer_loads.py: prints the tokens of a text.
#include "halfback/base/file.h"
#include "halfback/checkpoint/checkpoint.h"
#include "halfback/checkpoint/checkpoint_save.h"
#include "halfback/checkpoint/safetensors.h"
#include "halfback/checkpoint/safetensors_write.h"
#include "halfback/engine/pipeline.h"
#include "halfback/engine/runtime.h"
#include "halfback/layers/language_model_head.h"
#include "halfback/layers/masked_language_model_head.h"
#include "halfback/layers/masked_loss.h"
#include "halfback/measure/synthetic.h"
#include "halfback/models/cut.h"
#include "halfback/models/model.h"
#include "halfback/schedule/families.h"
#include "tests/support/checkpoints.h"
#include "tests/support/thread_peers.h"

#include <iostream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using halfback::BertConfig;
using halfback::LlamaConfig;
using halfback::MambaConfig;
using halfback::MicroBatch;
using halfback::ModelConfig;
using halfback::Pipeline;
using halfback::Stage;
using halfback::StageList;

at::Tensor logits_of(const halfback::LossLayer* head, const at::Tensor& activation) {
  if (const auto* next = dynamic_cast<const halfback::LanguageModelHead*>(head)) {
    return next->logits(activation);
  }
  if (const auto* masked = dynamic_cast<const halfback::MaskedLoss*>(head)) {
    return dynamic_cast<const halfback::MaskedLanguageModelHead&>(masked->loss())
        .logits(activation);
  }
  return activation;  // an encoder alone
}

void write_logits(const StageList& stages, halfback::Tensors inputs, const std::string& path) {
  std::vector<halfback::NamedTensor> written = {{"tokens", inputs.front()}};
  for (Stage* const stage : stages) {
    inputs = stage->infer(std::move(inputs)).activations;
  }
  const at::Tensor logits = logits_of(stages.back()->layers().loss.get(), inputs.front());
  written.push_back({"logits", logits});
  halfback::save_safetensors(path, written);
}

ModelConfig model_of(const std::string& name) {
  const LlamaConfig llama{.num_layers = 4,
                          .width = 32,
                          .num_heads = 4,
                          .num_key_value_heads = 4,
                          .hidden = 56,
                          .sequence = 24,
                          .vocabulary = 96,
                          .rope_theta = 5000.0,
                          .norm_epsilon = 1e-6};
  std::map<std::string, ModelConfig> models = {{"llama", llama}};
  const auto add = [&](const char* variant, const auto& base, auto change) {
    auto config = base;
    change(config);
    models[variant] = config;
  };
  add("llama-gqa", llama, [](LlamaConfig& config) { config.num_key_value_heads = 2; });
  add("llama-mqa", llama, [](LlamaConfig& config) { config.num_key_value_heads = 1; });
  add("llama-tied", llama, [](LlamaConfig& config) { config.has_tied_head = true; });
  models["bert"] = BertConfig{
      .num_layers = 4, .width = 32, .num_heads = 4, .hidden = 56, .sequence = 24, .vocabulary = 96};
  const MambaConfig mamba{.num_layers = 4,
                          .width = 40,
                          .state_size = 12,
                          .conv_size = 3,
                          .sequence = 150,  // several chunks of the scan
                          .vocabulary = 96,
                          .norm_epsilon = 1e-4};
  models["mamba"] = mamba;
  add("mamba-tied", mamba, [](MambaConfig& config) { config.has_tied_head = true; });
  return models.at(name);
}

// train MODEL DIRECTORY LOGITS STAGES
void train(const std::vector<std::string>& arguments) {
  const ModelConfig config = model_of(arguments[1]);
  const int num_stages = std::stoi(arguments[4]);
  const halfback::Schedule schedule = halfback::build_schedule(
      "1f1b-1", {.num_ranks = num_stages, .num_micro_batches = num_stages, .two_stage = true});
  Pipeline pipeline(halfback::build_model(config, halfback::equal_cut(4, num_stages)),
                    halfback::make_runnable(schedule), {});
  pipeline.initialize(3);
  std::vector<MicroBatch> batches;
  for (int i = 0; i < num_stages; ++i) {
    halfback::MicroBatch batch =
        halfback::synthetic_batch(config, 2, static_cast<std::uint64_t>(i));
    batches.push_back(batch);
  }
  for (int step = 1; step <= 2; ++step) {
    pipeline.train_step(batches, {.number = step, .learning_rate = 0.02});
  }
  const auto write_together = [&](const halfback::PeersPointer& peers) {
    halfback::save_checkpoint(arguments[2], config, StageList{&pipeline.stage(peers->index())},
                              {.step = 2, .optimizer = "adamw"},
                              {.max_shard_bytes = 50'000, .peers = peers});
  };
  for (const std::string& error : halfback::testing::errors_together(num_stages, write_together)) {
    if (!error.empty()) {
      throw std::runtime_error(error);
    }
  }
  write_logits(halfback::testing::stages_of(pipeline),
               halfback::synthetic_batch(config, 2, 99).inputs, arguments[3]);
}

// load DIRECTORY LOGITS STAGES [INPUTS]
void load(const std::vector<std::string>& arguments) {
  const ModelConfig config = halfback::load_config(arguments[1]);
  const std::vector<int> cut =
      halfback::equal_cut(halfback::num_blocks(config), std::stoi(arguments[3]));
  std::vector<std::unique_ptr<Stage>> owned;
  StageList stages;
  for (halfback::StageLayers& layers : halfback::build_model(config, cut)) {
    owned.push_back(std::make_unique<Stage>(std::move(layers), Stage::Options{}));
    stages.push_back(owned.back().get());
  }
  halfback::load_parameters(arguments[1], stages);
  halfback::Tensors inputs;
  if (arguments.size() == 5) {
    const halfback::SafetensorsFile file(arguments[4]);
    inputs = {file.get("tokens"), file.get("mask")};
  } else {
    inputs = halfback::synthetic_batch(config, 2, 99).inputs;
  }
  write_logits(stages, std::move(inputs), arguments[2]);
}

// encode DIRECTORY TEXT
void encode(const std::vector<std::string>& arguments) {
  const halfback::TokenizerPointer tokenizer = halfback::load_tokenizer(arguments[1]);
  for (const std::int32_t token : tokenizer->encode(halfback::read_file(arguments[2]))) {
    std::cout << token << '\n';
  }
}

}  // namespace

int main(int argc, char** argv) try {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  halfback::initialize_runtime();
  if (arguments.size() == 5 && arguments[0] == "train") {
    train(arguments);
    return 0;
  }
  if (arguments.size() >= 4 && arguments.size() <= 5 && arguments[0] == "load") {
    load(arguments);
    return 0;
  }
  if (arguments.size() == 3 && arguments[0] == "encode") {
    encode(arguments);
    return 0;
  }
  std::cerr << "usage: exchange_checkpoint train MODEL DIRECTORY LOGITS STAGES | "
               "load DIRECTORY LOGITS STAGES [INPUTS] | encode DIRECTORY TEXT\n";
  return 2;
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
