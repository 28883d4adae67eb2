// schedule_parity FILE...: trains the small model over each schedule file for some steps and prints
// whether losses, gradients and values have the bits of the plain run, or where W do not ascend are
// equal to rounding. Exits with 1 where not.
#include "halfback/base/error.h"
#include "halfback/engine/plain_run.h"
#include "halfback/schedule/csv.h"
#include "tests/support/small_model.h"

#include <algorithm>
#include <iostream>

namespace halfback::testing {
namespace {

constexpr int kNumSteps = 3;
constexpr std::uint64_t kSeed = 42;
constexpr double kLearningRate = 3e-3;
constexpr double kRounding = 1e-5;

// "equal" in every bit, "equal to rounding" where sums have another order, or "differs".
std::string compare_with_plain_run(const Schedule& schedule) {
  const PipelineOptions options = parity_options();
  const auto pipeline = make_pipeline(schedule, options);
  const int num_layers = layers_for(schedule.num_stages());
  PlainRun plain(std::move(build_llama(small_llama(num_layers), {num_layers}).front()),
                 options.stage, options.update);
  plain.initialize(kSeed);
  bool is_equal = true;
  double difference = 0.0;
  for (int step = 1; step <= kNumSteps; ++step) {
    const auto batches = make_batches({.num_micro_batches = schedule.num_micro_batches}, step);
    const auto expected = plain.train_step(batches, step, kLearningRate);
    const StepResult found =
        pipeline->train_step(batches, {.number = step, .learning_rate = kLearningRate});
    is_equal =
        is_equal && found.loss == expected.loss && found.gradient_norm == expected.gradient_norm &&
        bytes_of(*pipeline, Buffer::Gradients) == bytes_of(plain.stage(), Buffer::Gradients) &&
        bytes_of(*pipeline, Buffer::Values) == bytes_of(plain.stage(), Buffer::Values);
    difference =
        std::max(difference, relative_difference(numbers_of(*pipeline, Buffer::Gradients),
                                                 numbers_of(plain.stage(), Buffer::Gradients)));
  }
  if (is_equal) {
    return "equal";
  }
  return difference < kRounding && !weight_gradients_ascend(schedule) ? "equal to rounding"
                                                                      : "differs";
}

}  // namespace
}  // namespace halfback::testing

int main(int argc, char** argv) {
  int num_different = 0;
  for (int i = 1; i < argc; ++i) {
    std::string found;
    try {
      found = halfback::testing::compare_with_plain_run(halfback::load_schedule(argv[i]));
    } catch (const halfback::Error& error) {
      found = error.what();
    }
    std::cout << argv[i] << ": " << found << '\n';
    num_different += found.starts_with("equal") ? 0 : 1;
  }
  return num_different == 0 ? 0 : 1;
}
