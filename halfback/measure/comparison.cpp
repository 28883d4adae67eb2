#include "halfback/measure/comparison.h"

#include "halfback/base/error.h"
#include "halfback/base/quantiles.h"
#include "halfback/engine/plain_run.h"
#include "halfback/engine/runtime.h"
#include "halfback/measure/synthetic.h"
#include "halfback/schedule/families.h"
#include "halfback/schedule/passes.h"
#include "halfback/schedule/queues.h"
#include "halfback/simulate/memory_model.h"
#include "halfback/simulate/simulator.h"
#include "halfback/timeline/statistics.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <tuple>

namespace halfback {

namespace {

// False if any backward is whole. Where several gradients pass a stage, there is none even without
// two_stage.
bool is_split(const Schedule& schedule) {
  return std::ranges::none_of(schedule.ranks, [](const std::vector<Action>& list) {
    return std::ranges::find(list, ActionKind::Backward, &Action::kind) != list.end();
  });
}

// One schedule under test, with all its measurements.
struct Candidate {
  RunnableSchedule schedule;
  std::unique_ptr<Pipeline> pipeline;
  std::int64_t num_steps = 0;
  std::vector<StageBytes> bytes;
  std::vector<double> step_seconds;
  Timeline all_spans;                          // of every counted round
  std::vector<std::int64_t> activation_bytes;  // peak of each rank
  std::vector<double> bubble_fractions;
  std::vector<double> reduction_seconds;  // of the rank with the longest; likewise the exposed part
  std::vector<double> exposed_reduction_seconds;
  bool is_bit_equal = false;
};

bool have_same_bits(const at::Tensor& found, const at::Tensor& expected) {
  if (!found.defined() || !expected.defined()) {
    return found.defined() == expected.defined();
  }
  const at::Tensor one = found.cpu();
  const at::Tensor other = expected.cpu();
  return std::memcmp(one.const_data_ptr(), other.const_data_ptr(), one.nbytes()) == 0;
}

class Comparison {
 public:
  Comparison(const TrainingConfig& config, const Schedule& like) : config_(config) {
    is_emulated_ = config_.pipeline.stage.device.is_cpu() && like.num_ranks() > num_cores();
    config_.pipeline.threads_per_rank =
        threads_of_rank(config_.pipeline.threads_per_rank, like.num_ranks());
    // The paper's naive schedule takes the whole mini-batch at once: compare equal mini-batches.
    num_samples_ =
        samples_that_pass(config_) * (like.num_micro_batches == 1 ? like.num_ranks() : 1);
    micro_batches_ = synthetic_micro_batches(
        config_.model, {.count = like.num_micro_batches, .num_samples = num_samples_},
        config_.seed());
  }

  Candidate candidate(const RunnableSchedule& schedule) {
    config_.schedule = schedule;
    check(config_);
    Candidate made{.schedule = schedule};
    const auto build = [&] { return build_stages(config_); };
    made.bytes = stage_bytes(build(), {.input_shape = input_shape(config_.model, num_samples_)});
    made.pipeline = std::make_unique<Pipeline>(build, made.schedule, config_.pipeline);
    made.pipeline->initialize(config_.seed());
    made.is_bit_equal = has_expected_gradients(*made.pipeline);
    return made;
  }

  // One training step; its figures are kept unless it is a warm-up. Without a barrier between steps
  // it is one of many: those before it fill the pipeline, and those after it keep it full. An
  // emulated step needs no others: its actions' own times are replayed.
  void step(Candidate& one, bool counts) {
    Pipeline& pipeline = *one.pipeline;
    const int ahead = is_emulated_ ? 0 : pipeline.most_begun() - 1;
    std::optional<StepResult> measured;
    for (int step = 0; step < 2 * ahead + 1; ++step) {
      pipeline.begin_step(micro_batches_,
                          {.number = ++one.num_steps, .learning_rate = config_.learning_rate.peak});
      if (pipeline.num_begun() > ahead) {
        measured = pipeline.finish_step();
      }
    }
    while (pipeline.num_begun() > 0) {
      pipeline.finish_step();
    }
    if (counts) {
      keep(one, *measured);
    }
  }

  void keep(Candidate& one, const StepResult& result) const {
    const Replay replay = replayed(*one.schedule, result);
    one.step_seconds.push_back(is_emulated_ ? replay.seconds : result.seconds);
    const Statistics times = is_emulated_ ? replay.statistics : statistics(result.timeline);
    one.bubble_fractions.push_back(
        is_emulated_ ? replay.bubble_fraction : idle_fraction(times.busy_seconds, result.seconds));
    one.reduction_seconds.push_back(times.longest_reduction());
    one.exposed_reduction_seconds.push_back(times.longest_exposed_reduction());
    one.all_spans.num_ranks = result.timeline.num_ranks;
    one.all_spans.spans.insert(one.all_spans.spans.end(), result.timeline.spans.begin(),
                               result.timeline.spans.end());
    one.activation_bytes.resize(result.memory.size());
    for (std::size_t rank = 0; rank < result.memory.size(); ++rank) {
      one.activation_bytes[rank] =
          std::max(one.activation_bytes[rank], result.memory[rank].activations);
    }
  }

  // Costs of actions from all rounds of the candidates; later candidates win.
  CostModel costs(const std::vector<const Candidate*>& candidates) const {
    CostModel model;
    model.stages.assign(static_cast<std::size_t>(candidates.front()->schedule->num_stages()), {});
    for (const Candidate* one : candidates) {
      take_measured_costs(model, one->all_spans, clock());
    }
    return model;
  }

  // The simulated step: actions, then the updates, which begin together; or without a barrier the
  // period of many steps.
  double simulated(const Candidate& one, const CostModel& costs) const {
    const SimulateOptions options{.validates = false, .keeps_timeline = false};
    return has_updates(*one.schedule)
               ? steady_step(*one.schedule, costs, one.schedule->num_ranks(), options).period
               : simulate(*one.schedule, costs, options).makespan;
  }

  ComparisonRow row(const Candidate& one) const {
    const double seconds = median(one.step_seconds);
    const auto items = static_cast<double>(num_samples_ * items_per_sample(config_.model) *
                                           one.schedule->num_micro_batches);
    return {.schedule = one.schedule->name,
            .num_ranks = one.schedule->num_ranks(),
            .num_micro_batches = one.schedule->num_micro_batches,
            .two_stage = is_split(*one.schedule),
            .is_emulated = is_emulated_,
            .step_seconds = seconds,
            .spread_seconds = quartile_spread(one.step_seconds),
            .items_per_second = items / seconds,
            .item_name = item_name(config_.model),
            .bubble_fraction = median(one.bubble_fractions),
            .reduction_seconds = median(one.reduction_seconds),
            .exposed_reduction_seconds = median(one.exposed_reduction_seconds),
            .activation_bytes = one.activation_bytes,
            .predicted_activation_bytes = predict_memory(*one.schedule, {.stages = one.bytes}).peak,
            .is_bit_equal = one.is_bit_equal};
  }

 private:
  struct Replay {
    double seconds = 0.0;
    double bubble_fraction = 0.0;
    Statistics statistics = {};
  };

  SpanClock clock() const { return is_emulated_ ? SpanClock::ThreadCpu : SpanClock::Wall; }

  bool has_expected_gradients(Pipeline& pipeline) {
    if (expected_.empty()) {
      expected_ = pipeline.schedule().losses.is_backprop() ? gradients_of_plain_run(pipeline)
                                                           : gradients_on_one_rank(pipeline);
    }
    pipeline.accumulate_gradients(micro_batches_);
    return std::ranges::equal(gradients_of(pipeline), expected_, have_same_bits);
  }

  // Parameter by parameter; undefined where no loss trains them.
  static std::vector<at::Tensor> gradients_of(Pipeline& pipeline) {
    std::vector<at::Tensor> all;
    for (int stage = 0; stage < pipeline.num_stages(); ++stage) {
      for (const Parameter* one : pipeline.stage(stage).store().parameters()) {
        all.push_back(one->trains ? one->gradient : at::Tensor());
      }
    }
    return all;
  }

  std::vector<at::Tensor> gradients_of_plain_run(const Pipeline& like) {
    plain_ = std::make_unique<PlainRun>(
        std::move(build_model(config_.model, {num_blocks(config_.model)},
                              {.local_loss = config_.local_loss,
                               .contrast = build_options(config_).contrast,
                               .stages_with_loss = {0}})
                      .front()),
        Stage::Options{.device = device_of_rank(config_.pipeline.stage.device, 0),
                       .product_dtype = config_.pipeline.stage.product_dtype,
                       .seed = config_.seed(),
                       .gradient_groups = like.gradient_groups()},
        UpdateOptions{.loss_scale = config_.pipeline.update.loss_scale});
    plain_->initialize(config_.seed());
    // Uses a rank's number of threads, because convolutions choose their algorithm by it.
    const int previous = at::get_num_threads();
    at::set_num_threads(config_.pipeline.threads_per_rank);
    plain_->accumulate_gradients(micro_batches_);
    at::set_num_threads(previous);
    std::vector<at::Tensor> all;
    for (const Parameter* one : plain_->stage().store().parameters()) {
      all.push_back(one->trains ? one->gradient : at::Tensor());
    }
    return all;
  }

  // The plain run has one loss; with several, one rank does all stages, one after the other.
  std::vector<at::Tensor> gradients_on_one_rank(const Pipeline& like) {
    const RunnableSchedule plain = make_runnable(on_one_rank(like.schedule()));
    PipelineOptions options = config_.pipeline;
    options.gradient_groups = like.gradient_groups();
    one_rank_ = std::make_unique<Pipeline>([&] { return build_stages(config_); }, plain, options);
    one_rank_->initialize(config_.seed());
    one_rank_->accumulate_gradients(micro_batches_);
    return gradients_of(*one_rank_);
  }

  // The step as it would run with a core for each rank: its actions with their own CPU times.
  Replay replayed(const Schedule& schedule, const StepResult& result) const {
    if (!is_emulated_) {
      return {};
    }
    std::map<std::tuple<ActionKind, int, int, int>, double> seconds;
    std::map<int, double> updates;
    const bool has_own_updates = has_updates(schedule);
    for (const Span& span : result.timeline.spans) {
      if (span.action.kind == ActionKind::Update && !has_own_updates) {
        updates[span.rank] += span.cpu_seconds;
      } else {
        seconds[{span.action.kind, span.action.stage, span.action.loss, span.action.micro_batch}] =
            span.cpu_seconds;
      }
    }
    const Durations durations = [&](const Action& action) {
      return is_message(action.kind)
                 ? 0.0
                 : seconds.at({action.kind, action.stage, action.loss,
                               action.micro_batch % schedule.num_micro_batches});
    };
    const SimulationResult simulated = simulate(schedule, durations, 0.0);
    if (has_own_updates) {
      const SteadyStep steady = steady_step(schedule, durations, schedule.num_ranks());
      return {steady.period, steady.bubble_fraction, statistics(simulated.timeline)};
    }
    double update = 0.0;
    for (const auto& [rank, sum] : updates) {
      update = std::max(update, sum);
    }
    return {simulated.makespan + update, simulated.bubble_fraction, statistics(simulated.timeline)};
  }

  TrainingConfig config_;
  bool is_emulated_ = false;
  std::int64_t num_samples_ = 0;
  std::vector<MicroBatch> micro_batches_;
  std::unique_ptr<PlainRun> plain_;  // keep what is expected alive
  std::unique_ptr<Pipeline> one_rank_;
  std::vector<at::Tensor> expected_;
};

void require_takers(const ComparisonRequest& request) {
  for (const auto& [row, value] : request.shape.parameters) {
    const auto takes = [&, row = row](const std::string& name) {
      return is_family(name) && family(name).has(*row);
    };
    if (std::ranges::none_of(request.schedules, takes)) {
      throw ConfigError(fmt::format("compare: no schedule takes {}; there are {}; leave it out",
                                    row->option, fmt::join(request.schedules, ", ")));
    }
  }
}

Schedule with_asked_queues(const Schedule& schedule, const std::optional<std::string>& queues) {
  return queues && num_queues(schedule) > 0 ? with_queues(schedule, parse_queues(*queues))
                                            : schedule;
}

// The schedules of one line of the request: fused and split, or those that are asked for and exist.
std::vector<Schedule> variants(const std::string& name, const ShapeRequest& asked) {
  ShapeRequest shape = asked;
  shape.queues.reset();
  std::erase_if(shape.parameters,
                [&](const auto& one) { return !is_family(name) || !family(name).has(*one.first); });
  std::vector<Schedule> all;
  for (const bool two_stage : {false, true}) {
    shape.two_stage = two_stage;
    if (asked.two_stage.value_or(two_stage) != two_stage) {
      continue;
    }
    try {
      all.push_back(with_asked_queues(load_or_build(name, shape), asked.queues));
    } catch (const ConfigError&) {
      // A family, or a file, of the other kind only. If it is neither, the last try reports why.
      if (two_stage == asked.two_stage.value_or(true) && all.empty()) {
        throw;
      }
    }
  }
  return all;
}

// Backprop has no use for the heads that others are given.
TrainingConfig config_of_backprop(TrainingConfig config) {
  config.local_head = LocalHead::Linear;
  config.local_loss = compares_views(config) ? config.local_loss : LocalLoss::Pred;
  return config;
}

bool is_backprop(const std::vector<Schedule>& line) { return line.front().losses.is_backprop(); }

}  // namespace

std::vector<ComparisonRow> compare(const TrainingConfig& config,
                                   const ComparisonRequest& request,
                                   const OnRound& on_round) {
  check(request.rounds);
  check(config.model);
  require_takers(request);
  initialize_runtime();
  std::vector<std::vector<Schedule>> lines;
  for (const std::string& name : request.schedules) {
    lines.push_back(variants(name, request.shape));
  }
  const bool is_all_backprop = std::ranges::all_of(lines, is_backprop);
  const auto total = request.rounds.total() * static_cast<std::int64_t>(lines.size());
  std::int64_t done = 0;
  std::vector<ComparisonRow> rows;
  for (const std::vector<Schedule>& line : lines) {
    Comparison comparison(
        is_backprop(line) && !is_all_backprop ? config_of_backprop(config) : config, line.front());
    std::vector<Candidate> candidates;
    for (const Schedule& schedule : line) {
      candidates.push_back(comparison.candidate(
          make_runnable(schedule, {.channel_capacity = request.channel_capacity})));
    }
    for (std::int64_t round = 1; round <= request.rounds.total(); ++round) {
      for (Candidate& one : candidates) {
        comparison.step(one, round > request.rounds.num_warmup);
      }
      on_round(++done, total);
    }
    std::vector<const Candidate*> pointers;
    for (const Candidate& one : candidates) {
      pointers.push_back(&one);
    }
    const CostModel costs = comparison.costs(pointers);
    const Candidate& off = candidates.front();
    for (const Candidate& one : candidates) {
      ComparisonRow row = comparison.row(one);
      std::vector<double> ratios;
      for (std::size_t i = 0; i < one.step_seconds.size(); ++i) {
        ratios.push_back(off.step_seconds[i] / one.step_seconds[i]);
      }
      row.speed_up = median(ratios);
      row.predicted_speed_up = comparison.simulated(off, costs) / comparison.simulated(one, costs);
      row.step_over_simulated =
          row.step_seconds / comparison.simulated(one, comparison.costs({&one}));
      rows.push_back(row);
    }
  }
  return rows;
}

}  // namespace halfback
