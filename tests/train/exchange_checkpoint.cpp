// For transformers_loads.py. Both ways write the logits of all positions of fixed tokens:
//
//   exchange_checkpoint train DIRECTORY LOGITS STAGES KV_HEADS [tied]
//       trains a small model for two steps on that many stages and writes its checkpoint
//   exchange_checkpoint load DIRECTORY LOGITS
//       reads a checkpoint

#include "halfback/base/keyed_random.h"
#include "halfback/engine/pipeline.h"
#include "halfback/engine/runtime.h"
#include "halfback/layers/language_model_head.h"
#include "halfback/models/cut.h"
#include "halfback/schedule/families.h"
#include "halfback/train/checkpoint.h"
#include "halfback/train/safetensors.h"

#include <ATen/ops/empty.h>

#include <exception>
#include <iostream>
#include <string>
#include <vector>

namespace {

using halfback::LlamaConfig;
using halfback::MicroBatch;
using halfback::Pipeline;
using halfback::Stage;
using halfback::StageList;

at::Tensor tokens_of(const LlamaConfig& config, std::uint64_t key) {
  at::Tensor tokens = at::empty({2, config.sequence}, at::kLong);
  for (std::int64_t i = 0; i < tokens.numel(); ++i) {
    tokens.mutable_data_ptr<std::int64_t>()[i] =
        static_cast<std::int64_t>(halfback::keyed_hash({key, static_cast<std::uint64_t>(i)}) %
                                  static_cast<std::uint64_t>(config.vocabulary));
  }
  return tokens;
}

void write_logits(const LlamaConfig& config, const StageList& stages, const std::string& path) {
  const at::Tensor tokens = tokens_of(config, 99);
  halfback::Tensors activations = {tokens};
  for (Stage* const stage : stages) {
    activations = stage->infer(std::move(activations));
  }
  const auto& head =
      dynamic_cast<const halfback::LanguageModelHead&>(*stages.back()->layers().loss);
  halfback::save_safetensors(path,
                             {{"tokens", tokens}, {"logits", head.logits(activations.front())}});
}

void train(const std::vector<std::string>& arguments) {
  const int num_stages = std::stoi(arguments[3]);
  const LlamaConfig config{.num_layers = 4,
                           .width = 32,
                           .num_heads = 4,
                           .num_key_value_heads = std::stoi(arguments[4]),
                           .hidden = 56,
                           .sequence = 24,
                           .vocabulary = 96,
                           .rope_theta = 5000.0,
                           .norm_epsilon = 1e-6,
                           .has_tied_head = arguments.size() == 6};
  const halfback::Schedule schedule = halfback::build_schedule(
      "1f1b-1", {.num_ranks = num_stages, .num_micro_batches = num_stages, .two_stage = true});
  Pipeline pipeline(halfback::build_llama(config, halfback::equal_cut(4, num_stages)), schedule,
                    {});
  pipeline.initialize(3);
  std::vector<MicroBatch> batches;
  for (int i = 0; i < num_stages; ++i) {
    const auto key = static_cast<std::uint64_t>(i);
    batches.push_back({{tokens_of(config, key)}, tokens_of(config, 50 + key)});
  }
  for (int step = 1; step <= 2; ++step) {
    pipeline.train_step(batches, {.number = step, .learning_rate = 0.02});
  }
  StageList stages;
  for (int number = 0; number < num_stages; ++number) {
    stages.push_back(&pipeline.stage(number));
  }
  halfback::save_checkpoint(arguments[1], config, stages, {.step = 2, .optimizer = "adamw"},
                            {.max_shard_bytes = 50'000});
  write_logits(config, stages, arguments[2]);
}

void load(const std::vector<std::string>& arguments) {
  const auto config = std::get<LlamaConfig>(halfback::load_config(arguments[1]));
  Stage stage(
      std::move(halfback::build_llama(config, {static_cast<int>(config.num_layers)}).front()), {});
  halfback::load_parameters(arguments[1], {&stage});
  write_logits(config, {&stage}, arguments[2]);
}

}  // namespace

int main(int argc, char** argv) try {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  halfback::initialize_runtime();
  if (arguments.size() >= 5 && arguments.size() <= 6 && arguments[0] == "train") {
    train(arguments);
    return 0;
  }
  if (arguments.size() == 3 && arguments[0] == "load") {
    load(arguments);
    return 0;
  }
  std::cerr << "usage: exchange_checkpoint train DIRECTORY LOGITS STAGES KV_HEADS [tied] | "
               "load DIRECTORY LOGITS\n";
  return 2;
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
