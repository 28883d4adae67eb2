#include "cli/profile.h"

#include "halfback/base/error.h"
#include "halfback/engine/runtime.h"
#include "halfback/models/cut.h"
#include "halfback/train/synthetic.h"

#include <fmt/format.h>

namespace halfback::cli {

namespace {

constexpr int kNumMicroBatches = 4;

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
  require(request.num_rounds >= 1, "rounds", request.num_rounds, "1 or more");
  require(request.num_warmup_rounds >= 0, "warmup-rounds", request.num_warmup_rounds, "0 or more");
}

// All micro-batches through a stage before the next, as on a rank of its own. The first one finds
// no gradients to add to and is not measured; two run I and W, one B.
Schedule measured_schedule(int num_stages) {
  Schedule schedule{.name = "profile",
                    .num_micro_batches = kNumMicroBatches,
                    .placement = looped_placement(1, num_stages)};
  std::vector<Action>& list = schedule.ranks.emplace_back();
  for (int stage = 0; stage < num_stages; ++stage) {
    for (int micro_batch = 0; micro_batch < kNumMicroBatches; ++micro_batch) {
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

}  // namespace

Profile profile(const TrainingOptions& options,
                const ProfileRequest& request,
                const std::function<void(std::int64_t, std::int64_t)>& on_round) {
  check(request);
  initialize_runtime();
  const int num_stages = request.num_ranks * request.stages_per_rank;
  const Schedule schedule = measured_schedule(num_stages);
  Profile result{.config = options.config(schedule)};
  TrainingConfig& config = result.config;
  config.pipeline.threads_per_rank = resolve_threads(options.threads_per_rank, request.num_ranks);
  config.pipeline.stage.seed = config.seed;
  check(config.model);
  std::vector<StageLayers> stages = build_model(
      config.model,
      parse_cut(config.cut, {.num_blocks = num_blocks(config.model), .num_stages = num_stages}),
      {.checkpointing = config.checkpointing});
  MemoryModel memory{.stages = stage_bytes(stages, {.input_shape = input_shape(
                                                        config.model, config.micro_batch_size)})};
  Pipeline pipeline(std::move(stages), schedule, config.pipeline);
  pipeline.initialize(config.seed);
  for (int stage = 0; stage < num_stages; ++stage) {
    memory.states.push_back(pipeline.stage(stage).state_bytes());
  }
  const std::vector<MicroBatch> micro_batches = synthetic_micro_batches(
      config.model, {.count = kNumMicroBatches, .num_samples = config.micro_batch_size},
      config.seed);
  Timeline timeline{.num_ranks = 1};
  const std::int64_t total = request.num_warmup_rounds + request.num_rounds;
  for (std::int64_t round = 1; round <= total; ++round) {
    const StepResult step = pipeline.train_step(
        micro_batches, {.number = round, .learning_rate = config.learning_rate.peak});
    if (round > request.num_warmup_rounds) {
      const std::vector<Span>& spans = step.timeline.spans;
      std::copy_if(spans.begin(), spans.end(), std::back_inserter(timeline.spans), counts);
    }
    on_round(round, total);
  }
  result.costs = median_costs(timeline, SpanClock::Wall);
  result.file.costs.stages.assign(memory.stages.size(), {});
  take_measured_costs(result.file.costs, timeline, SpanClock::Wall);
  take_bytes(result.file.costs, memory);
  result.file.memory = std::move(memory);
  return result;
}

}  // namespace halfback::cli
