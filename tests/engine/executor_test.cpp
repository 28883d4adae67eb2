// The executor alone, with stages that only note what they are asked to do.
#include "halfback/engine/executor.h"

#include "halfback/schedule/csv.h"
#include "halfback/transport/in_process.h"

#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace halfback {
namespace {

// Notes every call and the numbers that it takes. A tensor is the number of its stage.
class NotingRunner final : public ActionRunner {
 public:
  Tensors compute(const Action& action, Tensors taken) override {
    const std::string from =
        taken.empty() ? "" : "(" + std::to_string(taken.front().item<int>()) + ")";
    calls.push_back(to_string(action) + from);
    return {at::full({}, action.stage)};
  }
  void compute_weights(std::span<const Action> weights) override {
    std::string text;
    for (const Action& action : weights) {
      text += (text.empty() ? "" : "+") + to_string(action);
    }
    calls.push_back(text);
  }
  std::size_t num_joined(std::span<const Action> weights) const override {
    return std::min<std::size_t>(weights.size(), 2);
  }
  void begin_reduction(const Action& action) override { calls.push_back(to_string(action)); }
  std::optional<Span> finish_sum(const Action& update) override {
    calls.push_back("sum before " + to_string(update));
    return std::nullopt;
  }
  void update(const Action& action) override { calls.push_back(to_string(action)); }

  std::vector<std::string> calls;
};

class ExecutorTest : public testing::Test {
 protected:
  void run(const std::string& text) {
    schedule_ = parse_schedule(text, "x.csv");
    executor_.run(runner_, schedule_, 0.0);
  }

  Schedule schedule_;
  NotingRunner runner_;
  std::unique_ptr<Transport> transport_ = make_in_process_network({.num_ranks = 1});
  RankDevice device_{0, at::kCPU};
  Executor executor_{0, *transport_, device_};
};

TEST_F(ExecutorTest, HasTheListDoneInItsOrderWithWhatTheNeighborsGave) {
  run("# halfback schedule name=x micro_batches=2 placement=0,0\n"
      "0F0,1F0,0F1,1F1,1I0,1I1,0I0,0I1,1W0,1W1,0W0,0W1\n");
  EXPECT_EQ(runner_.calls, (std::vector<std::string>{"0F0", "1F0(0)", "0F1", "1F1(0)", "1I0", "1I1",
                                                     "0I0(1)", "0I1(1)", "1W0+1W1", "0W0+0W1"}));
  EXPECT_EQ(executor_.position(), 12);
}

TEST_F(ExecutorTest, UpdatesWhereTheListSaysAndBehindIt) {
  run("# halfback schedule name=x micro_batches=1 placement=0,0\n"
      "0F0,1F0,1B0,1U,0B0,0U\n");
  executor_.run_behind({ActionKind::Update, 1, 0});
  EXPECT_EQ(runner_.calls, (std::vector<std::string>{"0F0", "1F0(0)", "1B0", "sum before 1U", "1U",
                                                     "0B0(1)", "sum before 0U", "0U", "1U"}));
  ASSERT_EQ(executor_.spans().size(), 7U);
  EXPECT_EQ(to_string(executor_.spans()[3].action), "1U");
  EXPECT_EQ(to_string(executor_.spans()[6].action), "1U");
}

// Three W together, of which two are joined: a span for each action, without gaps or overlaps.
TEST_F(ExecutorTest, SharesTheTimeOfJoinedWeightsOut) {
  run("# halfback schedule name=x micro_batches=3 placement=0\n"
      "0F0,0F1,0F2,0I0,0I1,0I2,0W0,0W1,0W2\n");
  EXPECT_EQ(runner_.calls.size(), 8U);
  EXPECT_EQ(runner_.calls[6], "0W0+0W1");
  EXPECT_EQ(runner_.calls[7], "0W2");
  const std::vector<Span>& spans = executor_.spans();
  ASSERT_EQ(spans.size(), 9U);
  EXPECT_EQ(spans[6].end_seconds, spans[7].start_seconds);
  EXPECT_LE(spans[7].end_seconds, spans[8].start_seconds);
}

}  // namespace
}  // namespace halfback
