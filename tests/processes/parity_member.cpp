// parity_member: a process of a run, which trains the small model over every family of schedules
// that fits the number of processes, and holds the stages of its ranks against the plain run.
// Prints how many schedules it tried; exits with 1 at the first bit that differs.
#include "halfback/base/error.h"
#include "halfback/engine/plain_run.h"
#include "halfback/models/cut.h"
#include "halfback/schedule/families.h"
#include "halfback/schedule/passes.h"
#include "halfback/train/process_run.h"
#include "halfback/transport/world.h"
#include "tests/support/small_model.h"

#include <fmt/format.h>

#include <iostream>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace halfback::testing {
namespace {

constexpr int kNumSteps = 3;
constexpr std::uint64_t kSeed = 42;
constexpr double kLearningRate = 3e-3;
constexpr int kMostStages = 16;  // that the small model is cut into

struct PlainStep {
  double loss = 0.0;
  double gradient_norm = 0.0;
  std::vector<std::string> values;  // by parameter
};

struct PlainShape {
  int num_micro_batches = 0;
  int num_layers = 0;
  int gradient_groups = 1;

  auto operator<=>(const PlainShape&) const = default;
};

std::string bytes_of(const at::Tensor& tensor) {
  return {static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()};
}

std::vector<PlainStep> run_plain(const PlainShape& shape) {
  PipelineOptions options = parity_options();
  options.stage.gradient_groups = shape.gradient_groups;
  PlainRun plain(std::move(build_llama(small_llama(shape.num_layers), {shape.num_layers}).front()),
                 options.stage, options.update);
  plain.initialize(kSeed);
  std::vector<PlainStep> steps;
  for (int step = 1; step <= kNumSteps; ++step) {
    const auto result = plain.train_step(
        make_batches({.num_micro_batches = shape.num_micro_batches}, step), step, kLearningRate);
    steps.push_back({result.loss, result.gradient_norm, {}});
    for (const Parameter* const parameter : plain.stage().store().parameters()) {
      steps.back().values.push_back(bytes_of(parameter->value));
    }
  }
  return steps;
}

const std::vector<PlainStep>& plain_steps(const PlainShape& shape) {
  static std::map<PlainShape, std::vector<PlainStep>> all;
  const auto found = all.find(shape);
  return found != all.end() ? found->second : all.emplace(shape, run_plain(shape)).first->second;
}

// Every family and some data parallel ones, with as many ranks as the processes can share out.
std::vector<Schedule> schedules_for(int num_processes) {
  std::vector<Schedule> all;
  const auto add = [&](const std::string& family, const PipelineShape& shape, int num_pipelines) {
    try {
      Schedule schedule = data_parallel(build_schedule(family, shape), num_pipelines);
      make_runnable(schedule);
      check_updates(schedule, parity_options().update);
      if (schedule.num_ranks() % num_processes == 0 && schedule.num_stages() <= kMostStages) {
        all.push_back(std::move(schedule));
      }
    } catch (const Error&) {  // a shape that the family does not admit, or that does not run
    }
  };
  for (const Family& family : families()) {
    for (const int ranks : {num_processes, 2 * num_processes}) {
      for (const bool two_stage : {false, true}) {
        add(family.name, {.num_ranks = ranks, .num_micro_batches = ranks, .two_stage = two_stage},
            1);
      }
    }
  }
  add("1f1b", {.num_ranks = num_processes, .num_micro_batches = 3}, 2);
  add("1f1b", {.num_ranks = 1, .num_micro_batches = 2}, num_processes);
  add("chimera", {.num_ranks = 2, .num_micro_batches = 4}, num_processes);
  return all;
}

// Returns what differs; empty when nothing does.
std::string difference(ProcessRun& run, const Schedule& schedule) {
  ProcessRun::Connection connection = run.connect();
  const int num_layers = layers_for(schedule.num_stages());
  const auto cut = equal_cut(num_layers, schedule.num_stages());
  Pipeline pipeline([&] { return build_llama(small_llama(num_layers), cut); },
                    make_runnable(schedule), parity_options(), std::move(connection.network));
  const ProcessRun::Watch watch(run, pipeline);
  pipeline.initialize(kSeed);
  const auto& expected = plain_steps({.num_micro_batches = schedule.num_micro_batches,
                                      .num_layers = num_layers,
                                      .gradient_groups = pipeline.gradient_groups()});
  std::vector<std::size_t> first_parameter = {0};
  for (const StageLayers& stage : build_llama(small_llama(num_layers), cut)) {
    first_parameter.push_back(first_parameter.back() + stage.parameters().size());
  }
  std::string text;
  for (int step = 1; step <= kNumSteps && text.empty(); ++step) {
    const StepResult found =
        pipeline.train_step(make_batches({.num_micro_batches = schedule.num_micro_batches}, step),
                            {.number = step, .learning_rate = kLearningRate});
    const PlainStep& plain = expected[static_cast<std::size_t>(step - 1)];
    if (found.loss != plain.loss || found.gradient_norm != plain.gradient_norm) {
      text = fmt::format("step {}: loss {}, norm {}; expected {} and {}", step, found.loss,
                         found.gradient_norm, plain.loss, plain.gradient_norm);
    }
    if (found.timeline.num_ranks != schedule.num_ranks() ||
        static_cast<int>(found.memory.size()) != schedule.num_ranks()) {
      text = "the result lacks ranks of other processes";
    }
    for (const LocalStage& local : pipeline.local_stages()) {
      std::size_t number = first_parameter[static_cast<std::size_t>(local.number)];
      for (const Parameter* const parameter : local.stage->store().parameters()) {
        if (bytes_of(parameter->value) != plain.values[number++]) {
          text = fmt::format("step {}: {} differs", step, parameter->name);
        }
      }
    }
  }
  run.leave();
  return text;
}

int run_all() {
  World world = detect_world();
  int count = 0;
  for (const Schedule& schedule : schedules_for(world.count)) {
    world.restart = count++;  // a place of its own in the store
    ProcessRun run(world, {.num_ranks = schedule.num_ranks()});
    std::string text;
    run.guard([&] { text = difference(run, schedule); });
    if (!text.empty()) {
      std::cout << schedule.name << ", " << schedule.num_ranks() << " ranks: " << text << '\n';
      return 1;
    }
  }
  std::cout << count << " schedules\n";
  return 0;
}

}  // namespace
}  // namespace halfback::testing

int main() {
  try {
    return halfback::testing::run_all();
  } catch (const std::exception& error) {
    std::cout << error.what() << '\n';
    return 1;
  }
}
