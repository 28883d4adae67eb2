#include "cli/profile.h"

#include "halfback/base/error.h"
#include "halfback/engine/runtime.h"
#include "halfback/models/cut.h"
#include "halfback/train/synthetic.h"

#include <fmt/format.h>

namespace halfback::cli {

namespace {

void check(const ProfileRequest& request) {
  const auto require = [](bool holds, const char* option, std::int64_t value, const char* wanted) {
    if (!holds) {
      throw ConfigError(fmt::format("--{} is {}; expected {}", option, value, wanted));
    }
  };
  constexpr int kMost = 1 << 10;
  require(request.num_ranks >= 1 && request.num_ranks <= kMost, "ranks", request.num_ranks,
          "1 to 1024");
  require(request.stages_per_rank >= 1 && request.stages_per_rank <= kMost, "stages-per-rank",
          request.stages_per_rank, "1 to 1024");
  require(request.rounds.num_measured >= 1, "rounds", request.rounds.num_measured, "1 or more");
  require(request.rounds.num_warmup >= 0, "warmup-rounds", request.rounds.num_warmup, "0 or more");
}

// All micro-batches through a stage before the next, as on a rank of its own. The first one finds
// no gradients to add to and is not measured; two run I and W, one B.
Schedule measured_schedule(int num_stages) {
  Schedule schedule{.name = "profile",
                    .num_micro_batches = kProfileMicroBatches,
                    .placement = looped_placement(1, num_stages)};
  std::vector<Action>& list = schedule.ranks.emplace_back();
  for (int stage = 0; stage < num_stages; ++stage) {
    for (int micro_batch = 0; micro_batch < kProfileMicroBatches; ++micro_batch) {
      list.push_back({ActionKind::Forward, stage, micro_batch});
    }
  }
  for (int stage = num_stages - 1; stage >= 0; --stage) {
    list.push_back({ActionKind::Backward, stage, 0});
    for (const ActionKind half : {ActionKind::BackwardInput, ActionKind::BackwardWeight}) {
      list.push_back({half, stage, 1});
      list.push_back({half, stage, 2});
    }
    list.push_back({ActionKind::Backward, stage, 3});
  }
  return schedule;
}

bool counts(const Span& span) {
  return span.action.micro_batch > 0 || span.action.kind == ActionKind::Update;
}

// Measures a configuration whose schedule is measured_schedule().
Profile measure(TrainingConfig config, const ProfileRounds& rounds, const OnRound& on_round) {
  initialize_runtime();
  const int num_stages = config.schedule.num_stages();
  config.pipeline.stage.seed = config.seed;
  check(config.model);
  std::vector<StageLayers> stages = build_model(
      config.model,
      parse_cut(config.cut, {.num_blocks = num_blocks(config.model), .num_stages = num_stages}),
      {.checkpointing = config.checkpointing});
  MemoryModel memory{.stages = stage_bytes(stages, {.input_shape = input_shape(
                                                        config.model, config.micro_batch_size)})};
  Pipeline pipeline(std::move(stages), config.schedule, config.pipeline);
  pipeline.initialize(config.seed);
  for (int stage = 0; stage < num_stages; ++stage) {
    memory.states.push_back(pipeline.stage(stage).state_bytes());
  }
  const std::vector<MicroBatch> micro_batches = synthetic_micro_batches(
      config.model, {.count = kProfileMicroBatches, .num_samples = config.micro_batch_size},
      config.seed);
  Timeline timeline{.num_ranks = 1};
  const std::int64_t total = rounds.num_warmup + rounds.num_measured;
  for (std::int64_t round = 1; round <= total; ++round) {
    const StepResult step = pipeline.train_step(
        micro_batches, {.number = round, .learning_rate = config.learning_rate.peak});
    if (round > rounds.num_warmup) {
      const std::vector<Span>& spans = step.timeline.spans;
      std::copy_if(spans.begin(), spans.end(), std::back_inserter(timeline.spans), counts);
    }
    on_round(round, total);
  }
  Profile result{.config = std::move(config), .costs = median_costs(timeline, SpanClock::Wall)};
  result.file.costs.stages.assign(memory.stages.size(), {});
  take_measured_costs(result.file.costs, timeline, SpanClock::Wall);
  take_bytes(result.file.costs, memory);
  result.file.memory = std::move(memory);
  return result;
}

}  // namespace

Profile profile(const TrainingOptions& options,
                const ProfileRequest& request,
                const OnRound& on_round) {
  check(request);
  TrainingConfig config =
      options.config(measured_schedule(request.num_ranks * request.stages_per_rank));
  config.pipeline.threads_per_rank = resolve_threads(options.threads_per_rank, request.num_ranks);
  return measure(std::move(config), request.rounds, on_round);
}

Profile profile(const TrainingConfig& run, const ProfileRounds& rounds, const OnRound& on_round) {
  TrainingConfig config = run;
  config.schedule = measured_schedule(run.schedule.num_stages());
  config.pipeline.gradient_groups = 0;  // its micro-batches are not the run's
  return measure(std::move(config), rounds, on_round);
}

}  // namespace halfback::cli
