#include "halfback/engine/pipeline.h"

#include "halfback/base/error.h"
#include "halfback/engine/clock.h"
#include "halfback/engine/pipeline_rank.h"
#include "halfback/engine/runtime.h"
#include "halfback/schedule/gradient_groups.h"
#include "halfback/schedule/passes.h"
#include "halfback/transport/in_process.h"

#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iterator>
#include <optional>
#include <string>
#include <utility>

namespace halfback {

namespace {

std::unique_ptr<Network> in_process(const RunnableSchedule& schedule,
                                    const PipelineOptions& options) {
  return make_in_process_network(
      {.num_ranks = schedule->num_ranks(),
       .capacity = schedule.channel_capacity(),
       .timeout = std::chrono::duration<double>(options.timeout_seconds)});
}

BuildStages once(std::vector<StageLayers> stages) {
  return [held = std::make_shared<std::vector<StageLayers>>(std::move(stages))] {
    return std::exchange(*held, {});
  };
}

void require_losses(const Schedule& schedule, const std::vector<StageLayers>& stages) {
  const std::vector<int> with_loss = stages_with_loss(schedule.losses, schedule.num_stages());
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const bool is_wanted = std::ranges::find(with_loss, static_cast<int>(i)) != with_loss.end();
    if (is_wanted != (stages[i].loss != nullptr)) {
      throw ConfigError(fmt::format(
          "model: stage {} {}; the schedule has losses on {}; expected a head on each of them, and "
          "on no other stage",
          i, is_wanted ? "has no head for its loss" : "has a head and the schedule no loss there",
          fmt::join(with_loss, ", ")));
    }
  }
}

void require_same_on_replicas(const std::vector<StageLayers>& stages) {
  for (const StageLayers& stage : stages) {
    const Parameter* const copy = stage.loss ? stage.loss->output_matrix() : nullptr;
    for (const Parameter* const parameter : stage.parameters()) {
      if (!parameter->trains && parameter != copy) {
        throw ConfigError(
            fmt::format("model: {} is a running statistic, which would differ between replicas "
                        "of the weights; use a schedule with one replica, without --data-parallel",
                        parameter->name));
      }
    }
  }
}

}  // namespace

Pipeline::Pipeline(const BuildStages& build,
                   const RunnableSchedule& schedule,
                   const PipelineOptions& options,
                   std::unique_ptr<Network> network)
    : options_(options),
      schedule_(*schedule),
      network_(network ? std::move(network) : in_process(schedule, options)),
      update_(options.update),
      updates_in_lists_(has_updates(schedule_)) {
  check(options);
  check_updates(schedule_, options.update);
  if (options.owns_process) {
    initialize_runtime();
  }
  choose_gradient_groups();
  std::vector<StageLayers> first = build();
  HALFBACK_CHECK(
      static_cast<int>(first.size()) == schedule_.num_stages(),
      fmt::format("{} stages, {} in the schedule", first.size(), schedule_.num_stages()));
  require_losses(schedule_, first);
  if (schedule_.placement.num_replicas() > 1) {
    require_same_on_replicas(first);
  } else if (options.shards_optimizer) {
    throw ConfigError(
        "--shard-optimizer: there is one replica of the weights, which needs all of the state; "
        "use --data-parallel D or a schedule with replicas");
  }
  layout_ = lay_out(first);
  check_ties();
  totals_.emplace(schedule_, layout_);
  make_ranks(std::move(first), build);
}

Pipeline::Pipeline(std::vector<StageLayers> stages,
                   const RunnableSchedule& schedule,
                   const PipelineOptions& options)
    : Pipeline(once(std::move(stages)), schedule, options) {
  HALFBACK_CHECK(schedule_.placement.num_replicas() == 1, "replicas of the weights need a builder");
}

// Nobody will ask for what was begun.
Pipeline::~Pipeline() {
  if (!begun_.empty()) {
    network_->stop();
  }
}

void Pipeline::choose_gradient_groups() {
  const int replicas = schedule_.placement.num_replicas();
  gradient_groups_ = options_.gradient_groups > 0 ? options_.gradient_groups : replicas;
  options_.stage.gradient_groups = gradient_groups_ / replicas;
  const std::vector<int> group_of = halfback::gradient_groups(schedule_, gradient_groups_);
  if (gradient_groups_ == replicas) {
    return;
  }
  group_ends_.assign(group_of.size(), GroupEnd::No);
  // In each replica, a micro-batch ends its group if the next one belongs to another group.
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

// Tied parameters are equal only if their stages are updated together, by one sum and one norm. The
// last stage always has a loss, which trains its head.
void Pipeline::check_ties() const {
  for (const TiedPair& pair : layout_.tied) {
    for (const int stage : {pair.original.stage, pair.copy.stage}) {
      if (schedule_.losses.passes(stage).taken == 0 && stage + 1 < num_stages()) {
        throw ConfigError(fmt::format(
            "model: stages {} and {} share a parameter, and no loss trains the layers of stage {}; "
            "use losses that reach both, or a model without tied parameters",
            pair.original.stage, pair.copy.stage, stage));
      }
    }
  }
  if (!updates_in_lists_ && options_.update.clip_scope == ClipScope::Model) {
    return;
  }
  for (const TiedPair& pair : layout_.tied) {
    if (pair.original.stage != pair.copy.stage) {
      throw ConfigError(fmt::format(
          "model: stages {} and {} share a parameter, and {} treats each stage on its own; use "
          "{}, or a model without tied parameters",
          pair.original.stage, pair.copy.stage,
          updates_in_lists_ ? "a schedule with U" : "--clip-scope stage",
          updates_in_lists_ ? "a schedule without U" : "--clip-scope model"));
    }
  }
}

void Pipeline::make_ranks(std::vector<StageLayers> first, const BuildStages& build) {
  const std::vector<int> local = network_->local_ranks();
  for (const int rank : local) {
    ranks_[rank] = std::make_unique<Rank>(rank, *this, device_of_rank(options_.stage.device, rank));
  }
  options_.threads_per_rank =
      threads_of_rank(options_.threads_per_rank, static_cast<int>(local.size()));
  std::vector<int> first_ranks;
  for (int rank = 0; rank < schedule_.num_ranks(); rank += static_cast<int>(local.size())) {
    first_ranks.push_back(rank);
  }
  first_ranks_ = ranks_.at(local.front())->world.split(first_ranks);
  const bool is_caller = !options_.owns_process && local.size() == 1;
  threads_ = std::make_unique<RankThreads>(
      local, options_.threads_per_rank,
      is_caller ? RankThreads::Where::Caller : RankThreads::Where::Threads);
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
    // Every rank's thread makes its own stages, so that their memory is counted to it.
    threads_->run([&](int number) {
      Rank& rank = *ranks_.at(number);
      Stage::Options stage_options = options_.stage;
      stage_options.device = rank.device.device();
      if (options_.shards_optimizer) {
        stage_options.optimizer_shard = replica;
        stage_options.num_optimizer_shards = num_replicas;
      }
      rank.device.enter();
      for (std::size_t stage = 0; stage < stages.size(); ++stage) {
        if (rank_of_stage[stage] == number) {
          rank.stages[static_cast<int>(stage)] = std::make_unique<Stage>(
              std::move(stages[stage]), stage_options,
              gradients_of(schedule_.losses, num_stages(), static_cast<int>(stage)));
        }
      }
      rank.device.wait();
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
    threads_->run([&](int number) { ranks_.at(number)->replicas.copy_values(); });
  }
  if (!layout_.readers.empty()) {
    threads_->run([&](int number) { ranks_.at(number)->output_copies.refresh(); });
  }
}

std::vector<GatheredStage> Pipeline::gather_update_state(const Replicas::IsChosen& is_chosen) {
  std::map<int, GatheredStage> chosen;
  if (!options_.shards_optimizer) {
    for (const LocalStage& local : local_stages()) {
      if (is_chosen(local.number, local.replica)) {
        chosen[local.number] = {local.stage, local.stage->update_state()};
      }
    }
  } else {
    std::mutex mutex;
    threads_->run([&](int number) {
      Rank& rank = *ranks_.at(number);
      for (const auto& [stage, held] : rank.stages) {
        if (auto state = rank.replicas.gather_update_state(stage, is_chosen)) {
          const std::lock_guard lock(mutex);
          chosen[stage] = {held.get(), *std::move(state)};
        }
      }
    });
  }
  std::vector<GatheredStage> all;
  for (auto& [number, gathered] : chosen) {
    all.push_back(std::move(gathered));
  }
  return all;
}

}  // namespace halfback
