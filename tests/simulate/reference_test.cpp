// The simulator against the slow reference, and its critical path against what it claims, on
// schedules and costs that nobody would write. All times are binary fractions, so sums are exact.
#include "halfback/schedule/communication.h"
#include "halfback/schedule/passes.h"
#include "halfback/schedule/validate.h"
#include "tests/simulate/reference_simulator.h"
#include "tests/support/random_schedule.h"
#include "tests/support/schedules.h"

#include <gtest/gtest.h>

namespace halfback {
namespace {

using testing::Dice;
using testing::random_schedule;
using testing::ReferenceSimulator;
using testing::WithCuts;

CostModel random_costs(Dice& dice, const Schedule& schedule) {
  // A rank of three replicas moves thirds, which sums of several steps would round.
  const bool is_exact = !has_updates(schedule) || schedule.placement.num_replicas() % 3 != 0;
  CostModel costs;
  costs.stages.clear();
  for (int stage = 0; stage < schedule.num_stages(); ++stage) {
    costs.stages.push_back({.forward = dice.eighths(16),
                            .input = dice.eighths(16),
                            .weight = dice.eighths(16),
                            .own_input = dice.eighths(16),
                            .full = std::nullopt,
                            .reduce = dice.toss() ? dice.eighths(40) : 0.0,
                            .activation_bytes = dice.eighths(80),
                            .gradient_bytes = dice.eighths(80),
                            .reduce_bytes = dice.toss() && is_exact ? dice.eighths(80) : 0.0});
    if (dice.toss()) {
      costs.stages.back().full = dice.eighths(32);
    }
  }
  costs.latency = dice.eighths(8);
  if (dice.toss()) {
    costs.bandwidth = 1 << dice.below(5);
  }
  if (dice.toss()) {
    costs.reduce_latency = dice.eighths(8);
    costs.reduce_bandwidth = 1 << dice.below(5);
  }
  costs.occupies_sender = dice.toss();
  for (int rank = 0; rank + 1 < schedule.num_ranks(); ++rank) {
    if (dice.toss()) {
      costs.links.push_back({.from = rank, .to = rank + 1, .latency = dice.eighths(24)});
      costs.links.push_back({.from = rank + 1, .to = rank, .bandwidth = 0.5});
    }
  }
  if (dice.toss()) {
    for (int rank = 0; rank < schedule.num_ranks(); ++rank) {
      costs.rank_speed.push_back(1.0 / (1 << dice.below(3)));
    }
  }
  return costs;
}

void expect_times_of_reference(const Schedule& schedule,
                               const CostModel& costs,
                               ChannelRule rule,
                               bool validates = true) {
  const SimulationResult found =
      simulate(schedule, costs, {.channel = rule, .validates = validates});
  ReferenceSimulator expected(schedule, costs, rule);
  expected.solve();
  std::size_t next = 0;
  double makespan = 0.0;
  for (int rank = 0; rank < schedule.num_ranks(); ++rank) {
    const auto& list = schedule.ranks[static_cast<std::size_t>(rank)];
    for (int i = 0; i < static_cast<int>(list.size()); ++i, ++next) {
      const Span& span = found.timeline.spans[next];
      ASSERT_EQ(span.action, list[static_cast<std::size_t>(i)]);
      ASSERT_EQ(span.rank, rank);
      ASSERT_EQ(span.start_seconds, expected.start({rank, i})) << to_string(span.action);
      ASSERT_EQ(span.end_seconds, expected.end({rank, i})) << to_string(span.action);
      makespan = std::max(makespan, expected.end({rank, i}));
    }
  }
  EXPECT_EQ(next, found.timeline.spans.size());
  EXPECT_EQ(found.makespan, makespan);
}

CostModel without_reduction_costs(CostModel costs) {
  for (StageCost& stage : costs.stages) {
    stage.reduce = stage.reduce_bytes = 0.0;
  }
  return costs;
}

// A path of the dependencies grows with each of its actions: so the step grows at least as much.
// Reductions come in the order in which they can begin, which longer actions may turn around: there
// the claim holds of their own lengths alone.
void expect_path_holds_the_step(const Schedule& schedule,
                                const CostModel& given_costs,
                                ChannelRule rule,
                                bool with_reductions = false) {
  if (has_reductions(schedule) && !with_reductions) {
    expect_path_holds_the_step(schedule, given_costs, rule, true);
  }
  const CostModel costs = with_reductions ? given_costs : without_reduction_costs(given_costs);
  const SimulationResult plain = simulate(schedule, costs, {.channel = rule});
  const std::vector<Position> path = critical_path(schedule, costs, {.channel = rule});
  ASSERT_FALSE(path.empty());
  const int num_kinds = static_cast<int>(ActionKind::ReduceGradient) + 1;
  for (int kind = with_reductions ? num_kinds - 1 : 0; kind < num_kinds; ++kind) {
    CostModel grown = costs;
    double growth = 0.0;
    for (const Position& position : path) {
      const Action& action = action_at(schedule, position);
      const double speed = costs.rank_speed.empty() || !is_compute(action.kind)
                               ? 1.0
                               : costs.rank_speed[static_cast<std::size_t>(position.rank)];
      growth += static_cast<int>(action.kind) == kind && !is_message(action.kind) ? 1 / speed : 0.0;
    }
    for (StageCost& stage : grown.stages) {
      stage.full = stage.of(ActionKind::Backward) + (kind == 1 ? 1.0 : 0.0);
      stage.forward += kind == 0 ? 1.0 : 0.0;
      stage.input += kind == 2 ? 1.0 : 0.0;
      stage.own_input = stage.own_input.value_or(stage.input) + (kind == 2 ? 1.0 : 0.0);
      stage.weight += kind == 3 ? 1.0 : 0.0;
      stage.reduce += kind == num_kinds - 1 ? 1.0 : 0.0;
    }
    EXPECT_GE(simulate(schedule, grown, {.channel = rule}).makespan, plain.makespan + growth)
        << "kind " << kind;
  }
}

void check(const Schedule& schedule, Dice& dice) {
  SCOPED_TRACE(to_csv(schedule));
  CostModel costs = random_costs(dice, schedule);
  if (schedule.placement.num_replicas() > 1 && !has_reductions(schedule)) {
    EXPECT_EQ(simulate(schedule, costs).makespan,
              simulate(testing::reduced_at_the_end(schedule), costs).makespan);
    costs = without_reduction_costs(costs);
  }
  expect_times_of_reference(schedule, costs, kBuffered);
  expect_path_holds_the_step(schedule, costs, kBuffered);
  if (has_messages(schedule)) {
    const int smallest = smallest_channel_capacity(schedule);
    for (const int more : {0, 1, 2}) {
      expect_times_of_reference(schedule, costs, {smallest + more});
      expect_path_holds_the_step(schedule, costs, {smallest + more});
    }
  } else {
    const Schedule lowered = add_communication(schedule);
    if (has_messages(lowered)) {
      check(lowered, dice);
    }
    costs.occupies_sender = false;
    EXPECT_EQ(simulate(lowered, costs).makespan, simulate(schedule, costs).makespan);
  }
}

class ReferenceTest : public ::testing::TestWithParam<int> {};

TEST_P(ReferenceTest, RandomSchedulesAndCosts) {
  Dice dice(static_cast<unsigned>(GetParam()));
  for (int i = 0; i < 12; ++i) {
    check(random_schedule(dice, WithCuts::Yes), dice);
  }
}

TEST_P(ReferenceTest, RandomSchedulesOverManySteps) {
  Dice dice(static_cast<unsigned>(100 + GetParam()));
  for (int i = 0; i < 6; ++i) {
    const Schedule steps = repeat_steps(add_updates(random_schedule(dice, WithCuts::Yes)), 3);
    SCOPED_TRACE(to_csv(steps));
    expect_times_of_reference(steps, random_costs(dice, steps), kBuffered, false);
  }
}

// Updates anywhere behind the reductions that they wait for, of those schedules that run.
TEST_P(ReferenceTest, UpdatesOfReplicas) {
  Dice dice(static_cast<unsigned>(200 + GetParam()));
  for (int i = 0; i < 100; ++i) {
    const Schedule drawn = random_schedule(dice, WithCuts::Yes);
    const Schedule schedule =
        testing::with_updates_of_replicas(dice, add_gradient_reductions(drawn));
    if (testing::error_of([&] { validate(schedule); }) != "no error" || !has_updates(schedule)) {
      continue;
    }
    SCOPED_TRACE(to_csv(schedule));
    const CostModel costs = random_costs(dice, schedule);
    expect_times_of_reference(schedule, costs, kBuffered);
    const Schedule steps = repeat_steps(schedule, 3);
    expect_times_of_reference(steps, random_costs(dice, steps), kBuffered, false);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, ReferenceTest, ::testing::Range(1, 9));

TEST(ReferenceFamiliesTest, AllFamilies) {
  Dice dice(42);
  for (const std::string& name : family_names()) {
    for (const int ranks : {2, 4}) {
      check(testing::family_or_on_four(name, ranks), dice);
    }
  }
}

TEST(ReferenceFamiliesTest, WrittenByHand) {
  Dice dice(43);
  const char* schedules[] = {
      // a V
      "# halfback schedule micro_batches=2 placement=0,1,1,0\n"
      "0F0,0F1,3F0,3I0,3F1,3I1,3W0,3W1,0I0,0W0,0B1\n"
      "1F0,2F0,1F1,2F1,2I0,1I0,2B1,1B1,2W0,1W0\n",
      // a loop
      "# halfback schedule micro_batches=2 placement=0,1,0,1\n"
      "0F0,0F1,2F0,2F1,2I0,2I1,0I0,0I1,2W0,2W1,0W0,0W1\n"
      "1F0,1F1,3F0,3I0,3F1,3I1,1I0,1I1,3W0,3W1,1W0,1W1\n",
      // two replicas, in opposite directions
      "# halfback schedule micro_batches=2 placement=0,1|1,0 replicas=0,1\n"
      "0F0,1F1,1I1,0I0,1W1,0W0\n"
      "0F1,1F0,1I0,0I1,1W0,0W1\n",
      // both ranks send before they receive: runs with capacity 1, not as a rendezvous
      "# halfback schedule micro_batches=2 placement=0,1|1,0 replicas=0,1\n"
      "0F0,0SEND_F0,1RECV_F1,1F1,1B1,1SEND_B1,0RECV_B0,0B0\n"
      "0F1,0SEND_F1,1RECV_F0,1F0,1B0,1SEND_B0,0RECV_B1,0B1\n",
  };
  for (const char* text : schedules) {
    const Schedule schedule = testing::parse(text);
    for (int i = 0; i < 10; ++i) {
      check(schedule, dice);
    }
  }
}

}  // namespace
}  // namespace halfback
