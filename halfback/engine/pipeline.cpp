#include "halfback/engine/pipeline.h"

#include "halfback/base/error.h"
#include "halfback/engine/memory.h"
#include "halfback/engine/runtime.h"
#include "halfback/schedule/passes.h"
#include "halfback/transport/in_process.h"

#include <ATen/ops/empty_like.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <cmath>
#include <exception>
#include <string>
#include <utility>

namespace halfback {

namespace {

// Sums, as they come out of the exchange at the end of a step.
struct Totals {
  double loss = 0.0;
  double squared_norm = 0.0;
  double num_correct = 0.0;  // of an evaluation
};

}  // namespace

struct Pipeline::Rank {
  Rank(int rank_number, Transport& transport, at::Device device)
      : number(rank_number), executor(rank_number, stages, transport, device) {}

  int number;
  Executor::Stages stages;
  Executor executor;
  std::int64_t idle_bytes = 0;  // alive before the step
  Totals totals;                // the same on every rank
};

void check_runnable(const Schedule& schedule) {
  if (schedule.placement.num_replicas() > 1) {
    throw ScheduleError(fmt::format(
        "schedule: {} replicas of the weights; running that is not supported yet; it can "
        "be verified and simulated",
        schedule.placement.num_replicas()));
  }
  for (const auto& list : schedule.ranks) {
    const auto update = std::find_if(list.begin(), list.end(), [](const Action& action) {
      return action.kind == ActionKind::Update;
    });
    if (update != list.end()) {
      throw ScheduleError(
          fmt::format("schedule: {} updates a stage inside the step; running that is not supported "
                      "yet; leave the updates out, and every stage is updated at the end",
                      to_string(*update)));
    }
  }
}

Pipeline::Pipeline(std::vector<StageLayers> stages,
                   const Schedule& schedule,
                   const PipelineOptions& options)
    : options_(options),
      schedule_(has_messages(schedule) ? schedule : add_communication(schedule)),
      transport_(make_in_process_transport(
          {.num_ranks = schedule.num_ranks(),
           .capacity = options.channel_capacity,
           .timeout = std::chrono::duration<double>(options.timeout_seconds)})),
      loss_scale_(options.loss_scale) {
  check_runnable(schedule);
  HALFBACK_CHECK(
      static_cast<int>(stages.size()) == schedule.num_stages(),
      fmt::format("{} stages, {} in the schedule", stages.size(), schedule.num_stages()));
  initialize_runtime();
  for (int rank = 0; rank < schedule.num_ranks(); ++rank) {
    ranks_.push_back(
        std::make_unique<Rank>(rank, *transport_, device_of_rank(options.stage.device, rank)));
  }
  threads_ = std::make_unique<RankThreads>(schedule.num_ranks(), options.threads_per_rank);
  // Every rank's thread makes its own stages, so that they are counted to it.
  threads_->run([&](int number) {
    Rank& rank = *ranks_[static_cast<std::size_t>(number)];
    Stage::Options stage_options = options.stage;
    stage_options.device = rank.executor.device().device();
    rank.executor.device().enter();
    for (const int stage : schedule_.placement.stages_of(number)) {
      rank.stages[stage] = std::make_unique<Stage>(
          std::move(stages[static_cast<std::size_t>(stage)]), stage_options);
    }
    rank.executor.device().wait();
  });
  std::vector<Stage*> all;
  for (int number = 0; number < num_stages(); ++number) {
    all.push_back(&stage(number));
  }
  tied_ = tied_pairs(all);
}

Pipeline::~Pipeline() = default;

Stage& Pipeline::stage(int number) {
  const int rank = schedule_.placement.rank_of(number);
  return *ranks_[static_cast<std::size_t>(rank)]->stages.at(number);
}

void Pipeline::initialize(std::uint64_t seed) {
  const c10::InferenceMode no_graph;
  std::uint64_t index = 0;
  for (int number = 0; number < num_stages(); ++number) {
    ParameterStore& store = stage(number).store();
    store.initialize(seed, index);
    index += store.parameters().size();
  }
  copy_values(tied_);
}

StepResult Pipeline::train_step(std::span<const MicroBatch> micro_batches,
                                const StepOptions& options) {
  return run(micro_batches, &options);
}

StepResult Pipeline::accumulate_gradients(std::span<const MicroBatch> micro_batches) {
  return run(micro_batches, nullptr);
}

StepResult Pipeline::run(std::span<const MicroBatch> micro_batches, const StepOptions* update) {
  HALFBACK_CHECK(static_cast<int>(micro_batches.size()) == num_micro_batches(),
                 fmt::format("{} micro-batches", micro_batches.size()));
  const auto targets = static_cast<double>(num_targets(micro_batches));
  const StepContext context{.schedule = &schedule_,
                            .micro_batches = micro_batches,
                            .loss_scale = loss_scale_.value() / targets,
                            .step = update != nullptr ? update->number : 0,
                            .origin_seconds = now_seconds()};
  run_all(context, update);
  StepResult result;
  result.loss_scale = loss_scale_.value();
  result.seconds = now_seconds() - context.origin_seconds;
  result.loss = ranks_.front()->totals.loss / targets;
  result.gradient_norm = std::sqrt(ranks_.front()->totals.squared_norm);
  if (update != nullptr) {
    result.was_skipped = loss_scale_.skips(result.gradient_norm);
    loss_scale_.finish_step(result.was_skipped);
  }
  collect(result);
  return result;
}

Evaluation Pipeline::evaluate(std::span<const MicroBatch> micro_batches) {
  HALFBACK_CHECK(!micro_batches.empty(), "no micro-batches");
  const Schedule forward = forward_only(schedule_, static_cast<int>(micro_batches.size()));
  run_all({.schedule = &forward,
           .micro_batches = micro_batches,
           .is_training = false,
           .origin_seconds = now_seconds()},
          nullptr);
  const Totals& totals = ranks_.front()->totals;
  const auto count = static_cast<double>(num_targets(micro_batches));
  return {.loss = totals.loss / count, .accuracy = totals.num_correct / count};
}

void Pipeline::run_all(const StepContext& context, const StepOptions* update) {
  for (const auto& rank : ranks_) {
    rank->executor.device().reset_peak();
    rank->idle_bytes = rank->executor.device().live_bytes();
  }
  threads_->run([&](int number) {
    Rank& rank = *ranks_[static_cast<std::size_t>(number)];
    const auto where = [&] {
      const auto& list = context.schedule->ranks[static_cast<std::size_t>(number)];
      const auto position = static_cast<std::size_t>(rank.executor.position());
      return position < list.size() ? fmt::format("rank {}, position {}, {}", number, position,
                                                  to_string(list[position]))
                                    : fmt::format("rank {}, end of the step", number);
    };
    try {
      run_rank(rank, context, update);
    } catch (const StoppedError&) {
      // Another rank's error is the one to tell.
    } catch (const TransportError& error) {
      const std::string text =
          fmt::format("{}: {}{}", where(), error.what(), blocked_ranks(*context.schedule));
      transport_->stop();
      throw TransportError(text);
    } catch (const ScheduleError& error) {
      transport_->stop();
      throw ScheduleError(fmt::format("{}: {}", where(), error.what()));
    } catch (const c10::Error& error) {
      transport_->stop();
      throw Error(fmt::format("{}: {}", where(), error.what_without_backtrace()));
    } catch (const std::exception& error) {
      transport_->stop();
      throw Error(fmt::format("{}: {}", where(), error.what()));
    }
  });
}

std::string Pipeline::blocked_ranks(const Schedule& running) const {
  std::string text;
  for (const auto& rank : ranks_) {
    const auto& list = running.ranks[static_cast<std::size_t>(rank->number)];
    const auto position = static_cast<std::size_t>(rank->executor.position());
    text += position < list.size()
                ? fmt::format("; rank {} is at position {}, {}", rank->number, position,
                              to_string(list[position]))
                : fmt::format("; rank {} is at the end of the step", rank->number);
  }
  return text;
}

void Pipeline::share_gradients(const Rank& rank) {
  const RankDevice& device = rank.executor.device();
  for (const auto& [number, stage] : rank.stages) {
    stage->store().complete_gradients();
  }
  for (const TiedPair& pair : tied_) {
    const int first = schedule_.placement.rank_of(pair.stage);
    const int second = schedule_.placement.rank_of(pair.copy_stage);
    if (first == second && first == rank.number) {
      add_gradients(pair);
    } else if (first == rank.number || second == rank.number) {
      at::Tensor& own = (first == rank.number ? pair.original : pair.copy)->gradient;
      const int other = first == rank.number ? second : first;
      const at::Tensor sent = own.clone();
      device.wait();
      at::Tensor received = at::empty_like(sent);
      const int key = static_cast<int>(&pair - tied_.data());
      transport_->begin_exchange(rank.number, key, {{.peer = other, .gives = sent, .gets = received}})
          ->wait();
      own.add_(device.take(std::move(received)));
    }
  }
  for (const auto& [number, stage] : rank.stages) {
    stage->store().scale_gradients(1.0 / loss_scale_.value());
  }
}

void Pipeline::run_rank(Rank& rank, const StepContext& context, const StepOptions* update) {
  const RankDevice& device = rank.executor.device();
  device.wait_for_others();
  for (const auto& [number, stage] : rank.stages) {
    if (context.is_training) {
      stage->begin_step(context.step);
    } else {
      stage->begin_inference();
    }
  }
  rank.executor.run(context);
  if (context.is_training) {
    share_gradients(rank);
  }

  std::vector<double> sums;
  for (const auto& [number, stage] : rank.stages) {
    if (context.is_training) {
      const std::vector<double> norms = stage->store().squared_gradient_norms();
      sums.insert(sums.end(), norms.begin(), norms.end());
    }
  }
  const auto& losses = rank.executor.losses();
  sums.insert(sums.end(), losses.begin(), losses.end());
  const std::vector<std::vector<double>> all = transport_->all_gather(rank.number, std::move(sums));

  // Summed in model order on every rank, so that all have the same bits whatever the placement.
  rank.totals = {};
  std::vector<std::size_t> offsets(ranks_.size(), 0);
  for (int number = 0; number < num_stages() && context.is_training; ++number) {
    const auto owner = static_cast<std::size_t>(schedule_.placement.rank_of(number));
    const std::size_t count = stage(number).store().parameters().size();
    for (std::size_t i = 0; i < count; ++i) {
      rank.totals.squared_norm += all[owner][offsets[owner]++];
    }
  }
  const auto owner = static_cast<std::size_t>(schedule_.placement.rank_of(num_stages() - 1));
  const std::vector<double>& last = all[owner];
  const std::size_t count = context.micro_batches.size();
  for (std::size_t i = offsets[owner]; i < last.size(); ++i) {
    (i < offsets[owner] + count ? rank.totals.loss : rank.totals.num_correct) += last[i];
  }
  if (update != nullptr && !loss_scale_.skips(rank.totals.squared_norm)) {
    update_stages(rank, *update);
  }
}

void Pipeline::update_stages(Rank& rank, const StepOptions& options) {
  const double norm = std::sqrt(rank.totals.squared_norm);
  const bool clips = options_.clip_norm > 0.0 && norm > options_.clip_norm;
  for (const auto& [number, stage] : rank.stages) {
    rank.executor.timed({ActionKind::Update, number, 0}, [&] {
      stage->optimizer().step(stage->store(),
                              {.step = loss_scale_.update_number(options.number),
                               .learning_rate = options.learning_rate,
                               .gradient_divisor = clips ? norm / options_.clip_norm : 1.0});
    });
  }
}

void Pipeline::collect(StepResult& result) {
  result.timeline.num_ranks = static_cast<int>(ranks_.size());
  for (const auto& rank : ranks_) {
    const auto& spans = rank->executor.spans();
    result.timeline.spans.insert(result.timeline.spans.end(), spans.begin(), spans.end());
    RankMemory memory;
    for (const auto& [number, stage] : rank->stages) {
      const StateBytes bytes = stage->state_bytes();
      memory.parameters += bytes.parameters;
      memory.gradients += bytes.gradients;
      memory.optimizer_state += bytes.optimizer;
    }
    memory.activations = rank->executor.peak_between_actions() - rank->idle_bytes;
    memory.peak = rank->executor.device().peak_bytes();
    result.memory.push_back(memory);
  }
}

}  // namespace halfback
