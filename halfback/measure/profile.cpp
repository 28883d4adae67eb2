#include "halfback/measure/profile.h"

#include "halfback/engine/runtime.h"
#include "halfback/measure/synthetic.h"
#include "halfback/schedule/passes.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace halfback {

namespace {

// All micro-batches run through a stage before the next, as on a rank of its own. The first one has
// no gradients to add to and is not measured; two run I and W, one B if the stage can.
Schedule measured_schedule(int num_stages, const Losses& losses) {
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
  return losses.is_backprop() ? schedule : with_losses(schedule, losses);
}

bool counts(const Span& span) {
  return span.action.micro_batch > 0 || span.action.kind == ActionKind::Update;
}

}  // namespace

Profile profile(TrainingConfig config, const ProfileRequest& request, const OnRound& on_round) {
  check(request.rounds);
  initialize_runtime();
  config.schedule = make_runnable(measured_schedule(request.num_stages, request.losses));
  config.pipeline.threads_per_rank =
      threads_of_rank(config.pipeline.threads_per_rank, request.num_ranks);
  config.pipeline.gradient_groups = 0;       // its micro-batches differ from the run's
  config.pipeline.shards_optimizer = false;  // it has one replica
  check(config);
  check(config.model);
  std::vector<StageLayers> stages = build_stages(config);
  MemoryModel memory{.stages = stage_bytes(stages, {.input_shape = input_shape(
                                                        config.model, samples_that_pass(config))})};
  Pipeline pipeline(std::move(stages), config.schedule, config.pipeline);
  pipeline.initialize(config.seed());
  for (int stage = 0; stage < request.num_stages; ++stage) {
    memory.states.push_back(pipeline.stage(stage).state_bytes());
  }
  const std::vector<MicroBatch> micro_batches = synthetic_micro_batches(
      config.model, {.count = kProfileMicroBatches, .num_samples = samples_that_pass(config)},
      config.seed());
  Timeline timeline{.num_ranks = 1};
  for (std::int64_t round = 1; round <= request.rounds.total(); ++round) {
    const StepResult step = pipeline.train_step(
        micro_batches, {.number = round, .learning_rate = config.learning_rate.peak});
    if (round > request.rounds.num_warmup) {
      const std::vector<Span>& spans = step.timeline.spans;
      std::copy_if(spans.begin(), spans.end(), std::back_inserter(timeline.spans), counts);
    }
    on_round(round, request.rounds.total());
  }
  Profile result{.config = std::move(config), .costs = median_costs(timeline, SpanClock::Wall)};
  result.file.costs.stages.assign(memory.stages.size(), {});
  take_measured_costs(result.file.costs, timeline, SpanClock::Wall);
  take_bytes(result.file.costs, memory);
  result.file.memory = std::move(memory);
  return result;
}

}  // namespace halfback
