// halfback_step_server: a contestant of bench/peers.py. Builds a pipeline and prints one JSON line
// when it is ready. Then it answers each line "step" on standard input with one training step and a
// line {"seconds":..., "loss":...}, until the input ends. Sizes and tokens are those of
// bench/peers/llama.py.
#include "halfback/base/error.h"
#include "halfback/engine/clock.h"
#include "halfback/engine/pipeline.h"
#include "halfback/engine/runtime.h"
#include "halfback/models/cut.h"
#include "halfback/models/llama.h"
#include "halfback/schedule/families.h"

#include <ATen/ops/empty.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <torch/version.h>

#include <cstdint>
#include <exception>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

namespace {

using namespace halfback;

struct Options {
  LlamaConfig model;
  std::int64_t micro_batch_size = 4;
  PipelineShape shape{.num_ranks = 1, .num_micro_batches = 4};
  std::string schedule = "1f1b";
  std::string two_stage = "on";
  std::string precision = "float32";
  int num_threads = 1;
  std::uint64_t seed = 1;
};

void add_options(Options& options, CLI::App& app) {
  app.add_option("--layers", options.model.num_layers, "Blocks");
  app.add_option("--width", options.model.width, "Channels");
  app.add_option("--heads", options.model.num_heads, "Attention heads");
  app.add_option("--hidden", options.model.hidden, "Channels inside the feed-forward");
  app.add_option("--sequence", options.model.sequence, "Tokens of a sequence");
  app.add_option("--vocabulary", options.model.vocabulary, "Tokens there are");
  app.add_option("--micro-batch-size", options.micro_batch_size, "Sequences of a micro-batch");
  app.add_option("--micro-batches", options.shape.num_micro_batches, "Micro-batches of a step");
  app.add_option("--ranks", options.shape.num_ranks, "Ranks");
  app.add_option("--schedule", options.schedule, "Schedule family");
  app.add_option("--two-stage", options.two_stage, "Split backward: on or off")
      ->check(CLI::IsMember({"on", "off"}));
  app.add_option("--precision", options.precision, "Of matrix products: float32 or bfloat16")
      ->check(CLI::IsMember({"float32", "bfloat16"}));
  app.add_option("--threads", options.num_threads, "Threads of each rank")
      ->check(CLI::PositiveNumber);
  app.add_option("--seed", options.seed, "Of the initial values");
}

// The generator of bench/peers/llama.py: all contestants train on the same tokens.
class Tokens {
 public:
  explicit Tokens(std::int64_t vocabulary) : vocabulary_(static_cast<std::uint64_t>(vocabulary)) {}

  at::Tensor take(at::IntArrayRef shape) {
    at::Tensor tokens = at::empty(shape, at::kLong);
    auto* const ids = tokens.mutable_data_ptr<std::int64_t>();
    for (std::int64_t i = 0; i < tokens.numel(); ++i) {
      state_ = state_ * 6364136223846793005U + 1442695040888963407U;
      ids[i] = static_cast<std::int64_t>((state_ >> 33) % vocabulary_);
    }
    return tokens;
  }

 private:
  std::uint64_t vocabulary_;
  std::uint64_t state_ = 1;
};

std::vector<MicroBatch> make_micro_batches(const Options& options) {
  Tokens tokens(options.model.vocabulary);
  std::vector<MicroBatch> batches;
  for (int i = 0; i < options.shape.num_micro_batches; ++i) {
    MicroBatch batch;
    batch.inputs = {tokens.take({options.micro_batch_size, options.model.sequence})};
    batch.targets = tokens.take({options.micro_batch_size, options.model.sequence});
    batches.push_back(batch);
  }
  return batches;
}

std::unique_ptr<Pipeline> make_pipeline(Options& options) {
  options.shape.two_stage = options.two_stage == "on";
  options.model.num_key_value_heads = options.model.num_heads;
  const Schedule schedule = build_schedule(options.schedule, options.shape);
  PipelineOptions settings;
  settings.stage.optimizer.weight_decay = 0.1;
  if (options.precision == "bfloat16") {
    settings.stage.product_dtype = at::kBFloat16;
  }
  settings.update.clip_norm = 1.0;
  settings.threads_per_rank = options.num_threads;
  const auto cut = equal_cut(static_cast<int>(options.model.num_layers), schedule.num_stages());
  auto pipeline = std::make_unique<Pipeline>(build_llama(options.model, cut),
                                             make_runnable(schedule), settings);
  pipeline->initialize(options.seed);
  return pipeline;
}

void print(const nlohmann::json& line) { std::cout << line.dump() << std::endl; }

void serve(Options& options) {
  const std::unique_ptr<Pipeline> pipeline = make_pipeline(options);
  const std::vector<MicroBatch> batches = make_micro_batches(options);
  print({{"parameters", num_parameters(options.model)},
         {"torch", TORCH_VERSION},
         {"compiler", __VERSION__}});
  std::int64_t number = 0;
  for (std::string line; std::getline(std::cin, line);) {
    if (line != "step") {
      throw Error("standard input: '" + line + "'; expected 'step'");
    }
    const double start = now_seconds();
    const StepResult result =
        pipeline->train_step(batches, {.number = ++number, .learning_rate = 1e-3});
    print({{"seconds", now_seconds() - start}, {"loss", result.loss}});
  }
}

}  // namespace

int main(int argc, char** argv) {
  initialize_runtime();
  CLI::App app("Answers each line \"step\" with one timed training step.", "halfback_step_server");
  Options options;
  app.option_defaults()->always_capture_default();
  add_options(options, app);
  CLI11_PARSE(app, argc, argv);
  try {
    serve(options);
  } catch (const ConfigError& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 2;
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
