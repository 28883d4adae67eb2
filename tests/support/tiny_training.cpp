#include "tests/support/tiny_training.h"

#include "halfback/base/keyed_random.h"
#include "halfback/schedule/families.h"

#include <array>

namespace halfback::testing {

std::string tiny_text(std::size_t num_bytes) {
  constexpr std::array<const char*, 8> kWords = {"the ",  "light ", "and ",     "was ",
                                                 "upon ", "a ",     "waters\n", "day, "};
  std::string text;
  for (std::uint64_t i = 0; text.size() < num_bytes; ++i) {
    text += kWords[mixed_bits({11, i}) % kWords.size()];
  }
  return text.substr(0, num_bytes);
}

LlamaConfig tiny_llama() {
  return {.num_layers = 4,
          .width = 16,
          .num_heads = 4,
          .num_key_value_heads = 2,
          .hidden = 24,
          .sequence = 8,
          .vocabulary = 256};
}

TrainingConfig tiny_training(const std::filesystem::path& data, const TinySchedule& schedule) {
  TrainingConfig config;
  config.model = tiny_llama();
  config.schedule = make_runnable(build_schedule(
      schedule.name,
      {.num_ranks = schedule.num_ranks, .num_micro_batches = 4, .two_stage = schedule.two_stage}));
  config.pipeline.update.clip_norm = 1.0;
  config.pipeline.timeout_seconds = 60.0;
  config.learning_rate = {.peak = 1e-2, .floor_fraction = 0.1, .warmup_steps = 2};
  config.data = data;
  config.micro_batch_size = 2;
  config.num_steps = 6;
  config.pipeline.stage.seed = 5;
  config.evaluate_every = 0;
  return config;
}

std::vector<double> losses_of(const TrainingConfig& config, std::int64_t stop_after) {
  Training training(config);
  std::atomic<bool> stop{false};
  std::vector<double> losses;
  training.run(
      [&](const StepReport& report) {
        losses.push_back(report.result->loss);
        stop = report.step >= stop_after;
      },
      stop);
  return losses;
}

}  // namespace halfback::testing
