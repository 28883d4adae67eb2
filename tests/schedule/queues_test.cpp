// Queues between blocks: where receives stand, what they cost, and what is refused.
#include "halfback/schedule/queues.h"

#include "halfback/schedule/communication.h"
#include "halfback/schedule/passes.h"
#include "halfback/schedule/validate.h"
#include "halfback/simulate/memory_model.h"
#include "halfback/simulate/simulator.h"
#include "tests/support/schedules.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

namespace halfback {
namespace {

using testing::error_of;
using testing::has_text;
using testing::list_text;

Schedule greedy(int num_ranks, int num_micro_batches) {
  return build_schedule("local-greedy",
                        {.num_ranks = num_ranks, .num_micro_batches = num_micro_batches});
}

TEST(QueuesTest, ABlockReceivesAsManyAheadAsItsQueueHolds) {
  const Schedule schedule = greedy(2, 4);
  EXPECT_EQ(
      list_text(with_queues(schedule, {0}), 1),
      "1RECV_F0 1F0 1I0 1W0 1RECV_F1 1F1 1I1 1W1 1RECV_F2 1F2 1I2 1W2 1RECV_F3 1F3 1I3 1W3 1U");
  EXPECT_EQ(list_text(with_queues(schedule, {1}), 1),
            "1RECV_F0 1RECV_F1 1F0 1I0 1W0 1RECV_F2 1F1 1I1 1W1 1RECV_F3 1F2 1I2 1W2 1F3 1I3 1W3 "
            "1U");
  EXPECT_EQ(list_text(with_queues(schedule, {3}), 1),
            "1RECV_F0 1RECV_F1 1RECV_F2 1RECV_F3 1F0 1I0 1W0 1F1 1I1 1W1 1F2 1I2 1W2 1F3 1I3 1W3 "
            "1U");
  EXPECT_EQ(list_text(with_queues(schedule, {3}), 0), list_text(add_communication(schedule), 0));
}

TEST(QueuesTest, EachBoundaryHasItsOwnLength) {
  const Schedule schedule = with_queues(greedy(4, 9), {1, 0, 8});
  for (const auto& [rank, most] : std::vector<std::pair<int, int>>{{1, 2}, {2, 1}, {3, 9}}) {
    int waiting = 0;
    int peak = 0;
    for (const Action& action : schedule.ranks[static_cast<std::size_t>(rank)]) {
      waiting += action.kind == ActionKind::RecvForward ? 1 : 0;
      peak = std::max(peak, waiting);
      waiting -= action.kind == ActionKind::Forward ? 1 : 0;
    }
    EXPECT_EQ(peak, most) << rank;
  }
}

// Only the boundaries that no gradient crosses have one.
TEST(QueuesTest, BlocksOfSeveralStagesHaveOneQueue) {
  const Schedule chunked =
      build_schedule("local-chunked", {.num_ranks = 4, .num_micro_batches = 6, .chunks = 2});
  EXPECT_EQ(num_queues(chunked), 1);
  const Schedule queued = with_queues(chunked, {2});
  const Schedule sent = add_communication(chunked);
  for (const int rank : {0, 1, 3}) {
    EXPECT_EQ(list_text(queued, rank), list_text(sent, rank));
  }
  EXPECT_TRUE(list_text(queued, 2).starts_with("2RECV_F0 2RECV_F1 2RECV_F2 2F0"));
}

TEST(QueuesTest, AllFamiliesAndLengthsAreSound) {
  constexpr int kMicroBatches = 5;
  for (int ranks = 2; ranks <= 6; ++ranks) {
    for (const char* name : {"local-greedy", "local-chunked", "local-last"}) {
      for (int length = 0; length < kMicroBatches; ++length) {
        SCOPED_TRACE(fmt::format("{}, {} ranks, queue {}", name, ranks, length));
        const Schedule schedule =
            build_schedule(name, {.num_ranks = ranks, .num_micro_batches = kMicroBatches});
        const Schedule queued = with_queues(schedule, {length});
        validate(queued, {.channel = {1}});
        ASSERT_EQ(remove_communication(queued), schedule);
        ASSERT_EQ(testing::parse(to_csv(queued)), queued);
        validate(with_queues(data_parallel(schedule, 2), {length}), {.channel = {1}});
      }
    }
  }
}

// A long run has one warm-up, in which each block waits for the first micro-batches of its queue.
TEST(QueuesTest, CostOnlyAtTheStartOfARun) {
  const Schedule schedule = greedy(4, 40);
  const CostModel costs{.stages = {{}}};  // F, I and W take 1
  const auto makespan = [&](int length) {
    return simulate(repeat_steps(with_queues(schedule, {length}), 10), costs, {.validates = false})
        .makespan;
  };
  for (const int length : {0, 1, 2, 8, 32}) {
    // F, I and W take 3, and each of three blocks is behind by as many micro-batches more.
    EXPECT_EQ(makespan(length), makespan(0) + 3 * 3 * length);
    EXPECT_EQ(steady_step(with_queues(schedule, {length}), costs, 3, {}).period, 3 * 40);
  }
}

TEST(QueuesTest, HoldTheirMessages) {
  const MemoryModel model{{{.until_input = 1,
                            .until_weight = 10,
                            .gradients = 100,
                            .activation_message = 1000,
                            .gradient_message = 10000}}};
  for (const int length : {0, 1, 2, 8, 32}) {
    const auto peak = predict_memory(with_queues(greedy(3, 40), {length}), model).peak;
    EXPECT_EQ(peak[0], 1011);
    // Beside the micro-batch in work, one more arrives than the queue holds.
    EXPECT_EQ(peak[1], 1000 * (length + 1) + 11) << length;
    EXPECT_EQ(peak[2], std::max<std::int64_t>(1000 * (length + 1), 1000 * length + 111)) << length;
  }
}

TEST(QueuesTest, RefusesWhatHasNoPlace) {
  const auto error = [](const Schedule& schedule, const std::vector<int>& lengths) {
    return error_of([&] { with_queues(schedule, lengths); });
  };
  EXPECT_TRUE(has_text(error(testing::family("1f1b-1", 4), {1}),
                       "1f1b-1: gradients cross all boundaries of stages, so there is one block"));
  EXPECT_TRUE(has_text(error(greedy(4, 4), {1, 2}),
                       "local-greedy: 2 queues for 4 blocks; give 3, one for each boundary"));
  EXPECT_TRUE(has_text(error(greedy(4, 4), {1, 2, 3, 4}), "4 queues for 4 blocks; give 3"));
  EXPECT_TRUE(has_text(error(greedy(4, 4), {4}), "a queue of 4; a step has 4 micro-batches"));
  EXPECT_TRUE(has_text(error(greedy(4, 4), {0, -1, 0}), "a queue of -1; a step has 4"));
  EXPECT_TRUE(has_text(error(data_parallel(greedy(2, 3), 2), {3}),
                       "a queue of 3; a step has 3 micro-batches for each replica"));
  const Losses cut(4, {{1, 0}, {3, 2}});
  const Schedule on_one = on_one_rank(with_losses(testing::family("gpipe", 4), cut));
  EXPECT_TRUE(has_text(error(on_one, {1}), "stages 1 and 2 are on one rank, so nothing waits"));
  EXPECT_EQ(error(on_one, {0}), "no error");
  const Schedule interleaved =
      build_schedule("interleaved-1f1b", {.num_ranks = 2, .num_micro_batches = 4});
  EXPECT_TRUE(
      has_text(error(with_losses(interleaved, cut), {1}), "rank 1 sends rank 0 the tensors of"));
}

}  // namespace
}  // namespace halfback
