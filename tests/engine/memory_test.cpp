#include "halfback/engine/memory.h"

#include "halfback/base/error.h"
#include "halfback/models/cut.h"
#include "halfback/schedule/csv.h"
#include "halfback/schedule/families.h"
#include "halfback/schedule/validate.h"
#include "halfback/simulate/memory_model.h"
#include "tests/support/small_model.h"

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <thread>

namespace halfback::testing {
namespace {

constexpr int kRank = 7;  // not used by pipelines of these tests

TEST(CountingAllocatorTest, CountsWhatTensorsAskFor) {
  const std::int64_t before = live_bytes(kRank);
  {
    const MemoryOwner owner(kRank);
    const at::Tensor tensor = at::empty({3, 5}, at::kFloat);
    EXPECT_EQ(live_bytes(kRank) - before, 60);
    const at::Tensor nothing = at::empty({0}, at::kFloat);
    EXPECT_EQ(live_bytes(kRank) - before, 60);
  }
  EXPECT_EQ(live_bytes(kRank), before);
}

TEST(CountingAllocatorTest, PeakRemembersTheMost) {
  const MemoryOwner owner(kRank);
  reset_peak(kRank);
  const std::int64_t before = live_bytes(kRank);
  at::empty({1000}, at::kFloat);
  at::empty({10}, at::kFloat);
  EXPECT_EQ(peak_bytes(kRank) - before, 4000);
  reset_peak(kRank);
  EXPECT_EQ(peak_bytes(kRank), before);
}

TEST(CountingAllocatorTest, HandedOverBytesAreCountedToTheTaker) {
  const std::int64_t giver = live_bytes(kRank);
  const std::int64_t taker = live_bytes(kRank + 1);
  const MemoryOwner owner(kRank);
  at::Tensor tensor = at::empty({100}, at::kFloat);
  hand_over(tensor, kRank + 1);
  EXPECT_EQ(live_bytes(kRank), giver);
  EXPECT_EQ(live_bytes(kRank + 1) - taker, 400);
  std::thread([moved = std::move(tensor)]() mutable { moved.reset(); }).join();
  EXPECT_EQ(live_bytes(kRank + 1), taker);
}

TEST(CountingAllocatorTest, OwnersNest) {
  const std::int64_t before = live_bytes(kRank);
  const MemoryOwner outer(kRank);
  { const MemoryOwner inner(kRank + 1); }
  const at::Tensor tensor = at::empty({25}, at::kFloat);
  EXPECT_EQ(live_bytes(kRank) - before, 100);
}

TEST(CountingAllocatorTest, AFreedBlockServesTheNextRequestOfItsSize) {
  const MemoryOwner owner(kRank);
  const void* const first = at::empty({12345}, at::kFloat).const_data_ptr();
  EXPECT_EQ(at::empty({12345}, at::kFloat).const_data_ptr(), first);
}

// The formulas of the layers, added up along the schedule by the memory model, against what the
// allocator counts.
void expect_predicted_bytes(const Schedule& schedule, const BatchShape& shape) {
  const auto pipeline = make_pipeline(schedule);
  const int num_layers = layers_for(pipeline->num_stages());
  const std::vector<StageBytes> stages = stage_bytes(
      build_llama(small_llama(num_layers), equal_cut(num_layers, pipeline->num_stages())),
      {.input_shape = {shape.num_sequences, shape.sequence}});
  const std::vector<std::int64_t> predicted =
      predict_memory(pipeline->schedule(), {.stages = stages}).peak;
  for (int step = 1; step <= 2; ++step) {
    const StepResult found =
        pipeline->train_step(make_batches(shape, step), {.number = step, .learning_rate = 1e-3});
    for (std::size_t rank = 0; rank < predicted.size(); ++rank) {
      EXPECT_EQ(found.memory[rank].activations, predicted[rank])
          << "rank " << rank << ", step " << step;
    }
  }
}

void expect_predicted_bytes(const PipelineRequest& request, const BatchShape& shape) {
  SCOPED_TRACE(request.schedule + ", " + std::to_string(request.num_ranks) + " ranks, " +
               std::to_string(request.num_micro_batches) + " micro-batches, two-stage " +
               std::to_string(request.two_stage));
  expect_predicted_bytes(
      build_schedule(request.schedule, {.num_ranks = request.num_ranks,
                                        .num_micro_batches = request.num_micro_batches,
                                        .two_stage = request.two_stage}),
      shape);
}

// Every family that runs, at its natural number of micro-batches.
TEST(MemoryModelTest, PredictsTheActivationPeakToTheByte) {
  int num_checked = 0;
  for (const Family& family : families()) {
    for (const int ranks : {1, 2, 4}) {
      const int micro_batches = family.default_micro_batches(ranks);
      for (const bool two_stage : {false, true}) {
        try {
          const Schedule schedule = build_schedule(
              family.name,
              {.num_ranks = ranks, .num_micro_batches = micro_batches, .two_stage = two_stage});
          make_runnable(schedule);
          check_updates(schedule, parity_options().update);
        } catch (const Error&) {
          continue;
        }
        expect_predicted_bytes({family.name, ranks, micro_batches, two_stage},
                               {.num_micro_batches = micro_batches});
        ++num_checked;
      }
    }
  }
  EXPECT_GE(num_checked, 90);
  for (const char* name : {"1f1b-2-flush", "1f1b-2-capped"}) {
    expect_predicted_bytes({name, 4, 8, true}, {.num_micro_batches = 8, .num_sequences = 3});
  }
}

TEST(MemoryModelTest, PredictsRanksWithSeveralStagesToTheByte) {
  const char* schedules[] = {
      // a V, all forwards first
      "# halfback schedule micro_batches=3 placement=0,1,1,0\n"
      "0F0,0F1,0F2,3F0,3I0,3F1,3I1,3F2,3I2,0I0,3W0,0W0,0I1,3W1,0W1,0I2,3W2,0W2\n"
      "1F0,2F0,1F1,2F1,1F2,2F2,2I0,1I0,2I1,1I1,2W0,1W0,2I2,1I2,2W1,1W1,2W2,1W2\n",
      // a V, one micro-batch up before the next comes down, some backwards in one
      "# halfback schedule micro_batches=3 placement=0,1,1,0\n"
      "0F0,0F1,3F0,3B0,0F2,3F1,3I1,0B0,3F2,3B2,3W1,0I1,0W1,0B2\n"
      "1F0,2F0,2B0,1I0,1F1,2F1,1W0,2B1,1B1,1F2,2F2,2I2,1I2,1W2,2W2\n",
      // a loop
      "# halfback schedule micro_batches=3 placement=0,1,0,1\n"
      "0F0,0F1,0F2,2F0,2F1,2I0,2F2,0I0,2I1,0I1,2W0,0W0,2I2,0I2,2W1,2W2,0W1,0W2\n"
      "1F0,1F1,3F0,3I0,1F2,3F1,3I1,1I0,3F2,3I2,1I1,3W0,1W0,1I2,3W1,3W2,1W1,1W2\n",
      // two neighbors a rank
      "# halfback schedule micro_batches=3 placement=0,0,1,1\n"
      "0F0,1F0,0F1,1F1,1I0,0F2,1F2,0I0,1I1,0B1,1W0,0W0,1W1,1B2,0B2\n"
      "2F0,3F0,3I0,2I0,2F1,3F1,3B1,2B1,3W0,2W0,2F2,3F2,3I2,2B2,3W2\n",
      // all on one rank
      "# halfback schedule micro_batches=2 placement=0,0,0,0\n"
      "0F0,0F1,1F1,1F0,2F0,2F1,3F0,3I0,3F1,3B1,2I0,2I1,1B1,3W0,2W0,1I0,2W1,0B0,1W0,0B1\n",
      // a V with its own messages, received early
      "# halfback schedule micro_batches=2 placement=0,1,1,0\n"
      "0F0,0SEND_F0,0F1,0SEND_F1,3RECV_F0,3RECV_F1,3F0,3I0,3SEND_B0,3F1,3B1,3SEND_B1,3W0,"
      "0RECV_B0,0RECV_B1,0B0,0B1\n"
      "1RECV_F0,1RECV_F1,1F0,2F0,2SEND_F0,1F1,2F1,2SEND_F1,2RECV_B0,2RECV_B1,2I0,1I0,1SEND_B0,"
      "2B1,1B1,1SEND_B1,2W0,1W0\n",
  };
  for (const char* text : schedules) {
    SCOPED_TRACE(text);
    const Schedule schedule = parse_schedule(text, "test.csv");
    validate(schedule);
    expect_predicted_bytes(schedule, {.num_micro_batches = schedule.num_micro_batches});
  }
}

TEST(MemoryModelTest, ParametersGradientsAndMomentsAreCounted) {
  const auto pipeline = make_pipeline({.num_ranks = 2});
  const StepResult result =
      pipeline->train_step(make_batches({}), {.number = 1, .learning_rate = 1e-3});
  std::int64_t parameters = 0;
  for (const RankMemory& memory : result.memory) {
    parameters += memory.parameters;
    EXPECT_EQ(memory.gradients, memory.parameters);
    EXPECT_EQ(memory.optimizer_state, 2 * memory.parameters);
    EXPECT_GE(memory.peak,
              memory.parameters + memory.gradients + memory.optimizer_state + memory.activations);
  }
  // Buffers are padded, so that every parameter starts at a multiple of 64 elements.
  EXPECT_GE(parameters, 4 * num_parameters(small_llama()));
  EXPECT_LT(parameters, 4 * num_parameters(small_llama()) + 4 * 64 * 30);
}

}  // namespace
}  // namespace halfback::testing
