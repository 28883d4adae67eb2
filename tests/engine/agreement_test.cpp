// Verifier and executor never disagree: a schedule that validates runs to its end, and one that is
// refused fails. Layers compute nothing, so that thousands of drawn schedules run for real.
#include "halfback/engine/executor.h"
#include "halfback/engine/rank_stages.h"
#include "halfback/engine/runtime.h"
#include "halfback/schedule/communication.h"
#include "halfback/schedule/passes.h"
#include "halfback/schedule/queues.h"
#include "halfback/schedule/validate.h"
#include "tests/support/meeting_transport.h"
#include "tests/support/random_schedule.h"
#include "tests/support/schedules.h"

#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <mutex>
#include <thread>

namespace halfback::testing {
namespace {

class NullLayer final : public OneTensorLayer {
 public:
  at::Tensor forward(const at::Tensor&, Saved&, const Call&) override { return at::zeros({1}); }
  at::Tensor backward_input(const at::Tensor&, Saved&, const Call&) override {
    return at::zeros({1});
  }
  SavedBytes saved_bytes(const Shape&, std::int64_t) const override { return {}; }
};

class NullLoss final : public LossLayer {
 public:
  double forward(const at::Tensor&, const at::Tensor&, Saved&, const Call&) override { return 0.0; }
  std::int64_t num_correct(const Saved&) const override { return 0; }
  at::Tensor backward_input(double, Saved&, const Call&) override { return at::zeros({1}); }
  void backward_weight(std::span<Saved*>) override {}
  SavedBytes saved_bytes(const Shape&, std::int64_t) const override { return {}; }
  Flops flops(const Shape&) const override { return {}; }
};

std::unique_ptr<Stage> null_stage(const Schedule& schedule, int stage) {
  StageLayers layers;
  layers.layers.push_back(std::make_unique<NullLayer>());
  const std::vector<int> with_loss = stages_with_loss(schedule.losses, schedule.num_stages());
  if (std::ranges::find(with_loss, stage) != with_loss.end()) {
    layers.loss = std::make_unique<NullLoss>();
  }
  return std::make_unique<Stage>(std::move(layers), Stage::Options{},
                                 gradients_of(schedule.losses, schedule.num_stages(), stage));
}

// The stages of a rank, whose sums over replicas are waits of the transport.
class MeetingStages final : public ActionRunner {
 public:
  MeetingStages(int rank,
                RankStages& stages,
                const Placement& placement,
                MeetingTransport& transport)
      : rank_(rank), stages_(stages), placement_(placement), transport_(transport) {}

  Tensors compute(const Action& action, Tensors taken) override {
    return stages_.compute(action, std::move(taken));
  }
  void compute_weights(std::span<const Action> weights) override {
    stages_.compute_weights(weights);
  }
  std::size_t num_joined(std::span<const Action> weights) const override {
    return stages_.num_joined(weights);
  }
  void begin_reduction(const Action& action) override {
    stages_.begin_reduction(action);
    transport_.begin_sum(action.stage);
  }
  std::optional<Span> finish_sum(const Action& update) override {
    if (placement_.num_replicas() > 1) {
      transport_.wait_for_sum(rank_, update.stage, placement_.num_replicas());
    }
    return stages_.finish_sum(update);
  }
  void update(const Action& action) override { stages_.update(action); }

 private:
  int rank_;
  RankStages& stages_;
  const Placement& placement_;
  MeetingTransport& transport_;
};

// The executors of all ranks, a thread each, over a transport that follows the rule.
class NullRun {
 public:
  NullRun(const Schedule& schedule, ChannelRule rule)
      : schedule_(schedule),
        transport_(schedule.num_ranks(), rule),
        batches_(static_cast<std::size_t>(schedule.num_micro_batches),
                 MicroBatch{{at::zeros({1})}, at::zeros({1})}),
        stages_(schedule.ranks.size()) {
    for (int stage = 0; stage < schedule.num_stages(); ++stage) {
      for (const int rank : schedule.placement.ranks_of(stage)) {
        stages_[static_cast<std::size_t>(rank)][stage] = null_stage(schedule, stage);
      }
    }
  }

  // Returns the first error, or "no error".
  std::string error() {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < schedule_.num_ranks(); ++rank) {
      threads.emplace_back([this, rank] { run_rank(rank); });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    return error_;
  }

 private:
  void run_rank(int rank) {
    try {
      RankStageMap& stages = stages_[static_cast<std::size_t>(rank)];
      const RankDevice device(rank, at::kCPU);
      Group world = Group::world(transport_, rank, schedule_.num_ranks());
      Replicas replicas(rank, {.placement = schedule_.placement,
                               .layout = layout_,
                               .stages = stages,
                               .world = world,
                               .device = device});
      RankStages runner(rank, stages, replicas, update_);
      MeetingStages meeting(rank, runner, schedule_.placement, transport_);
      Executor executor(rank, transport_, device);
      const StepContext context{.schedule = &schedule_,
                                .micro_batches = batches_,
                                .updates_in_lists = has_updates(schedule_)};
      runner.begin(context);
      executor.run(meeting, schedule_, 0.0);
      runner.end_list();
    } catch (const StoppedError&) {
      // Another rank has the error.
    } catch (const std::exception& failure) {
      const std::lock_guard lock(mutex_);
      error_ = error_ == "no error" ? failure.what() : error_;
      transport_.stop();
    }
    transport_.end(rank);
  }

  const Schedule& schedule_;
  MeetingTransport transport_;
  std::vector<MicroBatch> batches_;
  std::vector<RankStageMap> stages_;
  ModelLayout layout_;
  StageUpdate update_{{}};
  std::mutex mutex_;
  std::string error_ = "no error";
};

Schedule drawn_family() {
  const std::string name = *rc::gen::elementOf(family_names());
  const int num_ranks = *rc::gen::inRange(1, 5);
  try {
    return family(name, num_ranks);
  } catch (const ConfigError&) {
    return family("1f1b", num_ranks);  // it wants another number of ranks
  }
}

// Adds messages, with queues between blocks where the placement admits them.
Schedule with_drawn_messages(const Schedule& schedule) {
  const std::vector<int> lengths = {*rc::gen::inRange(0, schedule.num_micro_batches)};
  try {
    return with_queues(schedule, lengths);
  } catch (const ConfigError&) {
    return add_communication(schedule);
  }
}

// Returns the schedule with B for each I directly followed by its own W.
Schedule merged(Schedule schedule) {
  for (std::vector<Action>& list : schedule.ranks) {
    std::vector<Action> result;
    for (const Action& action : list) {
      if (action.kind == ActionKind::BackwardWeight && !result.empty() &&
          result.back() == action.as(ActionKind::BackwardInput)) {
        result.back().kind = ActionKind::Backward;
      } else {
        result.push_back(action);
      }
    }
    list = result;
  }
  return schedule;
}

Schedule drawn_schedule() {
  Schedule schedule = drawn_family();
  Dice dice(*rc::gen::arbitrary<unsigned>());
  const bool is_random = *rc::gen::arbitrary<bool>();
  while (is_random || schedule.placement.num_replicas() > 1) {
    schedule = random_schedule(dice, WithCuts::Yes);
    if (schedule.placement.num_replicas() == 1) {
      break;  // the run here has one replica of the weights
    }
  }
  if (!has_updates(schedule) && *rc::gen::arbitrary<bool>()) {
    schedule = add_updates(schedule);
  }
  // With losses inside the model, a W may wait for more than its I, and then so would their B.
  const bool merges = schedule.losses.is_backprop() && *rc::gen::arbitrary<bool>();
  return with_drawn_messages(merges ? merged(schedule) : schedule);
}

// Draws a place of the list that `fits`; nothing where there is none.
template <typename Fits>
std::optional<std::size_t> drawn_place(const std::vector<Action>& list, Fits fits) {
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (fits(list[i])) {
      places.push_back(i);
    }
  }
  return places.empty() ? std::nullopt : std::optional(*rc::gen::elementOf(places));
}

Action relabeled(Action action, const Schedule& schedule) {
  switch (*rc::gen::inRange(0, 3)) {
    case 0:
      // No reduction: the engine refuses those by name whatever the verifier says.
      do {
        action.kind = static_cast<ActionKind>(*rc::gen::inRange(0, kNumActionKinds));
      } while (action.kind == ActionKind::ReduceGradient);
      break;
    case 1:
      action.stage = *rc::gen::inRange(0, schedule.num_stages() + 1);
      break;
    default:
      // A U names none in any file.
      if (has_micro_batch(action.kind)) {
        action.micro_batch = *rc::gen::inRange(0, schedule.num_micro_batches + 1);
      }
  }
  return action;
}

// Drops, doubles, swaps, moves or re-labels an action, or reverses a message.
void mutate(Schedule& schedule) {
  auto& list = schedule.ranks[*rc::gen::inRange<std::size_t>(0, schedule.ranks.size())];
  const int kind = *rc::gen::inRange(0, 7);
  const auto place = drawn_place(
      list, [kind](const Action& action) { return kind < 5 || is_message(action.kind); });
  if (!place) {
    return;
  }
  const auto at = list.begin() + static_cast<std::ptrdiff_t>(*place);
  const auto other = list.begin() + *rc::gen::inRange<std::ptrdiff_t>(0, std::ssize(list));
  switch (kind) {
    case 0:
      list.erase(at);
      break;
    case 1:
      list.insert(other, Action(*at));
      break;
    case 2:
      std::iter_swap(at, other);
      break;
    case 3:
      *at = relabeled(*at, schedule);
      break;
    case 4:
      schedule.ranks[*rc::gen::inRange<std::size_t>(0, schedule.ranks.size())].push_back(*at);
      break;
    case 5:
      *at = counterpart(*at);
      break;
    default:
      std::rotate(std::min(at, other), at < other ? at + 1 : at, std::max(at, other) + 1);
  }
}

TEST(AgreementTest, WhatValidatesRunsAndWhatIsRefusedFails) {
  initialize_runtime();
  const bool holds = rc::check([] {
    Schedule schedule = drawn_schedule();
    const int num_mutations = *rc::gen::inRange(0, 4);
    for (int i = 0; i < num_mutations; ++i) {
      mutate(schedule);
    }
    RC_PRE(has_messages(schedule) || schedule.num_ranks() == 1);
    const ChannelRule rule =
        *rc::gen::element(kBuffered, ChannelRule{1}, ChannelRule{2}, kRendezvous);
    const std::string found = error_of([&] { validate(schedule, {.channel = rule}); });
    const std::string ran = NullRun(schedule, rule).error();
    RC_CLASSIFY(found == "no error" && num_mutations > 0, "mutated and valid");
    RC_CLASSIFY(found.find("waits forever") != std::string::npos, "deadlock");
    RC_CLASSIFY(found != "no error", "refused");
    if ((found == "no error") != (ran == "no error")) {
      RC_FAIL("verifier: " + found + "\nexecutor: " + ran + "\n" + to_csv(schedule));
    }
    RC_ASSERT((found.find("waits forever") != std::string::npos) <= (ran == "all ranks wait"));
  });
  EXPECT_TRUE(holds);
}

// Updates anywhere behind the reductions that they wait for.
TEST(AgreementTest, UpdatesOfReplicasThatValidateRunAndOthersWaitForever) {
  initialize_runtime();
  const bool holds = rc::check([] {
    Dice dice(*rc::gen::arbitrary<unsigned>());
    Schedule drawn = random_schedule(dice, WithCuts::Yes);
    while (drawn.placement.num_replicas() == 1) {
      drawn = random_schedule(dice, WithCuts::Yes);
    }
    const Schedule schedule = with_updates_of_replicas(
        dice, add_communication(add_gradient_reductions(std::move(drawn))));
    const ChannelRule rule = *rc::gen::element(kBuffered, ChannelRule{2}, kRendezvous);
    const std::string found = error_of([&] { validate(schedule, {.channel = rule}); });
    const bool waits_forever = found.find("waits forever") != std::string::npos;
    RC_CLASSIFY(waits_forever);
    RC_ASSERT(waits_forever || found == "no error");
    RC_ASSERT(NullRun(schedule, rule).error() == (waits_forever ? "all ranks wait" : "no error"));
  });
  EXPECT_TRUE(holds);
}

}  // namespace
}  // namespace halfback::testing
