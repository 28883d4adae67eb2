#include "halfback/engine/pipeline.h"

#include "halfback/base/error.h"
#include "halfback/engine/exchange_keys.h"
#include "halfback/engine/memory.h"
#include "halfback/engine/pipeline_rank.h"
#include "halfback/engine/runtime.h"
#include "halfback/engine/shards.h"
#include "halfback/schedule/gradient_groups.h"
#include "halfback/schedule/passes.h"
#include "halfback/transport/in_process.h"

#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <utility>

namespace halfback {

namespace {

std::unique_ptr<Transport> in_process(const Schedule& schedule, const PipelineOptions& options) {
  return make_in_process_transport(
      {.num_ranks = schedule.num_ranks(),
       .capacity = options.channel_capacity,
       .timeout = std::chrono::duration<double>(options.timeout_seconds)});
}

BuildStages once(std::vector<StageLayers> stages) {
  return [held = std::make_shared<std::vector<StageLayers>>(std::move(stages))] {
    return std::exchange(*held, {});
  };
}

void require_same_on_replicas(const std::vector<StageLayers>& stages) {
  for (const StageLayers& stage : stages) {
    for (const Parameter* const parameter : stage.parameters()) {
      if (!parameter->trains) {
        throw ConfigError(
            fmt::format("model: {} is a running statistic, which copies of the weights would move "
                        "apart; use a schedule with one copy, without --data-parallel",
                        parameter->name));
      }
    }
  }
}

}  // namespace

void check_runnable(const Schedule& schedule) {
  for (int rank = 0; rank < schedule.num_ranks(); ++rank) {
    std::vector<int> stages = schedule.placement.stages_of(rank);
    std::sort(stages.begin(), stages.end());
    const auto twice = std::adjacent_find(stages.begin(), stages.end());
    if (twice != stages.end()) {
      throw ScheduleError(
          fmt::format("schedule: rank {} holds two copies of stage {}; running that is not "
                      "supported; put one on another rank",
                      rank, *twice));
    }
  }
  if (!schedule.cuts.is_backprop()) {
    throw ScheduleError(fmt::format(
        "schedule: gradients are cut: the losses reach as far down as {}; training by them is not "
        "supported yet; use a family of backprop, or leave losses= out of a file",
        brief_losses(schedule.cuts)));
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

Pipeline::Pipeline(const BuildStages& build,
                   const Schedule& schedule,
                   const PipelineOptions& options,
                   std::unique_ptr<Transport> transport)
    : options_(options),
      schedule_(with_messages(schedule, {options.channel_capacity})),
      transport_(transport ? std::move(transport) : in_process(schedule, options)),
      loss_scale_(options.loss_scale) {
  check_runnable(schedule);
  initialize_runtime();
  choose_gradient_groups();
  std::vector<StageLayers> first = build();
  HALFBACK_CHECK(static_cast<int>(first.size()) == schedule.num_stages(),
                 fmt::format("{} stages, {} in the schedule", first.size(), schedule.num_stages()));
  if (schedule.placement.num_replicas() > 1) {
    require_same_on_replicas(first);
  } else if (options.shards_optimizer) {
    throw ConfigError(
        "--shard-optimizer: there is one copy of the weights, which needs all of the state; "
        "use --data-parallel D or a schedule with replicas");
  }
  layout_ = lay_out(first);
  place_gathered();
  make_ranks(std::move(first), build);
}

Pipeline::Pipeline(std::vector<StageLayers> stages,
                   const Schedule& schedule,
                   const PipelineOptions& options)
    : Pipeline(once(std::move(stages)), schedule, options) {
  HALFBACK_CHECK(schedule.placement.num_replicas() == 1, "copies of the weights need a builder");
}

Pipeline::~Pipeline() = default;

void Pipeline::choose_gradient_groups() {
  const int replicas = schedule_.placement.num_replicas();
  gradient_groups_ = options_.gradient_groups > 0 ? options_.gradient_groups : replicas;
  options_.stage.gradient_groups = gradient_groups_ / replicas;
  const std::vector<int> group_of = halfback::gradient_groups(schedule_, gradient_groups_);
  if (gradient_groups_ == replicas) {
    return;
  }
  group_ends_.assign(group_of.size(), GroupEnd::No);
  // Of each replica: the micro-batch before the first one of another group ends its own.
  for (int replica = 0; replica < replicas; ++replica) {
    std::optional<std::size_t> previous;
    for (std::size_t m = 0; m < group_of.size(); ++m) {
      if (schedule_.placement.replica_of(static_cast<int>(m)) != replica) {
        continue;
      }
      if (previous && group_of[*previous] != group_of[m]) {
        group_ends_[*previous] = GroupEnd::Yes;
      }
      previous = m;
    }
    group_ends_[previous.value()] = GroupEnd::LastOfStep;
  }
}

void Pipeline::place_gathered() {
  norms_begin_.resize(static_cast<std::size_t>(num_stages()));
  num_norms_.resize(static_cast<std::size_t>(schedule_.num_ranks()));
  for (int stage = 0; stage < num_stages(); ++stage) {
    norms_begin_[static_cast<std::size_t>(stage)] =
        num_norms_[static_cast<std::size_t>(schedule_.placement.rank_of(stage))];
    for (const int rank : schedule_.placement.ranks_of(stage)) {
      num_norms_[static_cast<std::size_t>(rank)] += layout_.num_parameters(stage);
    }
  }
}

void Pipeline::make_ranks(std::vector<StageLayers> first, const BuildStages& build) {
  const std::vector<int> local = transport_->local_ranks();
  for (const int rank : local) {
    ranks_[rank] =
        std::make_unique<Rank>(rank, *transport_, device_of_rank(options_.stage.device, rank));
  }
  threads_ = std::make_unique<RankThreads>(local, options_.threads_per_rank);
  const int num_replicas = schedule_.placement.num_replicas();
  for (int replica = 0; replica < num_replicas; ++replica) {
    const auto& rank_of_stage = schedule_.placement.replicas[static_cast<std::size_t>(replica)];
    const bool is_here = std::any_of(rank_of_stage.begin(), rank_of_stage.end(),
                                     [&](int rank) { return ranks_.count(rank) > 0; });
    if (!is_here) {
      continue;
    }
    std::vector<StageLayers> stages = std::exchange(first, {});
    if (stages.empty()) {
      stages = build();
      lay_out(stages);
    }
    // Every rank's thread makes its own stages, so that they are counted to it.
    threads_->run([&](int number) {
      Rank& rank = *ranks_.at(number);
      Stage::Options stage_options = options_.stage;
      stage_options.device = rank.executor.device().device();
      if (options_.shards_optimizer) {
        stage_options.optimizer_shard = replica;
        stage_options.num_optimizer_shards = num_replicas;
      }
      rank.executor.device().enter();
      for (std::size_t stage = 0; stage < stages.size(); ++stage) {
        if (rank_of_stage[stage] == number) {
          rank.stages[static_cast<int>(stage)] =
              std::make_unique<Stage>(std::move(stages[stage]), stage_options);
        }
      }
      rank.executor.device().wait();
    });
  }
}

std::vector<LocalStage> Pipeline::local_stages() {
  std::vector<LocalStage> all;
  for (int replica = 0; replica < schedule_.placement.num_replicas(); ++replica) {
    for (int number = 0; number < num_stages(); ++number) {
      const auto rank = ranks_.find(schedule_.placement.rank_of(number, replica));
      if (rank != ranks_.end()) {
        all.push_back({number, replica, rank->second->stages.at(number).get()});
      }
    }
  }
  return all;
}

Stage& Pipeline::stage(int number) {
  const auto rank = ranks_.find(schedule_.placement.rank_of(number));
  HALFBACK_CHECK(rank != ranks_.end(), "the stage is in this process");
  return *rank->second->stages.at(number);
}

void Pipeline::initialize(std::uint64_t seed) {
  const c10::InferenceMode no_graph;
  for (const LocalStage& local : local_stages()) {
    local.stage->store().initialize(seed, layout_.numbers[static_cast<std::size_t>(local.number)]);
  }
  if (schedule_.placement.num_replicas() > 1) {
    copy_values_to_replicas();
  }
}

void Pipeline::copy_values_to_replicas() {
  threads_->run([&](int number) {
    for (const auto& [stage, held] : ranks_.at(number)->stages) {
      const std::vector<int> copies = schedule_.placement.ranks_of(stage);
      const at::Tensor& values = held->store().values();
      const bool is_source = copies.front() == number;
      const std::vector<at::Tensor> given(copies.size(), is_source ? values : at::Tensor());
      std::vector<at::Tensor> got(copies.size());
      got.front() = values;  // of the source itself: nothing
      transport_
          ->begin_exchange(number, exchange_keys::of_values(stage),
                           trades_with_copies(number, copies, given, got))
          ->wait();
    }
  });
}

void Pipeline::gather_optimizer_state(
    const std::function<bool(int stage, int replica)>& is_chosen) {
  if (!options_.shards_optimizer) {
    return;
  }
  threads_->run([&](int number) {
    const MemoryOwner nobody(kNoRank);
    for (const auto& [stage, held] : ranks_.at(number)->stages) {
      gather_optimizer_state(number, stage, *held, is_chosen);
    }
  });
}

void Pipeline::gather_optimizer_state(
    int number,
    int stage,
    Stage& held,
    const std::function<bool(int stage, int replica)>& is_chosen) {
  const std::vector<int> copies = schedule_.placement.ranks_of(stage);
  const auto own = std::find(copies.begin(), copies.end(), number) - copies.begin();
  const auto own_state = held.optimizer().state();
  for (std::size_t kind = 0; kind < own_state.size(); ++kind) {
    std::vector<at::Tensor> given(copies.size());
    for (std::size_t copy = 0; copy < copies.size(); ++copy) {
      if (is_chosen(stage, static_cast<int>(copy))) {
        given[copy] = own_state[kind].second;
      }
    }
    const std::vector<at::Tensor> got =
        is_chosen(stage, static_cast<int>(own))
            ? shards_of(held.whole_state()[kind].second, copies.size())
            : std::vector<at::Tensor>(copies.size());
    transport_
        ->begin_exchange(
            number, exchange_keys::of_reduction({.stage = stage, .bucket = static_cast<int>(kind)}),
            trades_with_copies(number, copies, given, got))
        ->wait();
  }
}

}  // namespace halfback
