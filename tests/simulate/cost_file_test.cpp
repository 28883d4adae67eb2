#include "halfback/simulate/cost_file.h"

#include "tests/support/schedules.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <limits>

namespace halfback {
namespace {

using testing::error_of;
using testing::has_text;

CostFile full_file() {
  const StageBytes bytes{.until_input = 1,
                         .until_weight = 2,
                         .gradients = 3,
                         .activation_message = 4,
                         .gradient_message = 5,
                         .head = {.until_input = 1, .until_weight = 0, .gradients = 2}};
  const StateBytes state{.parameters = 10, .gradients = 20, .optimizer = 30};
  CostFile file;
  file.costs = {
      .stages = {{.forward = 0.1,
                  .input = 0.2,
                  .weight = 0.3,
                  .full = 0.4,
                  .activation_bytes = 7,
                  .gradient_bytes = 8},
                 {.forward = 1.0 / 3.0, .update = 2.0}},
      .latency = 0.01,
      .bandwidth = 1e9,
      .links = {{.from = 0, .to = 1, .latency = 0.5}, {.from = 1, .to = 0, .bandwidth = 25.0}},
      .occupies_sender = true,
      .rank_speed = {1.0, 0.5},
      .updates = UpdateRule::PerRank};
  file.memory = MemoryModel{.stages = {bytes, bytes}, .states = {state, state}};
  return file;
}

TEST(CostFileTest, RoundTrips) {
  const TemporaryDirectory folder;
  const auto path = folder.path() / "costs.json";
  save_cost_file(full_file(), path);
  const CostFile read = load_cost_file(path);
  const CostModel& costs = read.costs;
  ASSERT_EQ(costs.stages.size(), 2U);
  EXPECT_EQ(costs.stages[0].full, 0.4);
  EXPECT_EQ(costs.stages[0].activation_bytes, 7);
  EXPECT_EQ(costs.stages[0].gradient_bytes, 8);
  EXPECT_EQ(costs.stages[1].forward, 1.0 / 3.0);
  EXPECT_EQ(costs.stages[1].update, 2.0);
  EXPECT_FALSE(costs.stages[1].full);
  EXPECT_EQ(costs.latency, 0.01);
  EXPECT_EQ(costs.bandwidth, 1e9);
  ASSERT_EQ(costs.links.size(), 2U);
  EXPECT_EQ(costs.links[0].latency, 0.5);
  EXPECT_FALSE(costs.links[0].bandwidth);
  EXPECT_EQ(costs.links[1].from, 1);
  EXPECT_EQ(costs.links[1].bandwidth, 25.0);
  EXPECT_TRUE(costs.occupies_sender);
  EXPECT_EQ(costs.rank_speed, (std::vector<double>{1.0, 0.5}));
  EXPECT_EQ(costs.updates, UpdateRule::PerRank);
  ASSERT_TRUE(read.memory);
  EXPECT_EQ(read.memory->stages, full_file().memory->stages);
  EXPECT_EQ(read.memory->states, full_file().memory->states);
  EXPECT_EQ(to_cost_file(read), to_cost_file(load_cost_file(path)));
  EXPECT_TRUE(
      has_text(error_of([&] { load_cost_file(folder.path() / "none"); }), "none: cannot open: "));
}

TEST(CostFileTest, DefaultsCostNothing) {
  const CostModel costs =
      parse_cost_file(R"({"stages":[{"forward":1,"input":2,"weight":3}]})", "c.json").costs;
  EXPECT_EQ(costs.stages.front().update, 0.0);
  EXPECT_EQ(costs.latency, 0.0);
  EXPECT_EQ(costs.bandwidth, std::numeric_limits<double>::infinity());
  EXPECT_FALSE(costs.occupies_sender);
  EXPECT_EQ(costs.updates, UpdateRule::Synchronized);
}

TEST(CostFileTest, MessagesWithoutBytesHaveThoseOfTheMemory) {
  const std::string memory = R"({"until_input":1,"until_weight":1,"gradients":1,)"
                             R"("activation_message":64,"gradient_message":32,"parameters":9})";
  const CostFile file = parse_cost_file(
      R"({"stages":[{"forward":1,"input":1,"weight":1,"gradient_bytes":5,"memory":)" + memory +
          "}]}",
      "c.json");
  EXPECT_EQ(file.costs.stages[0].activation_bytes, 64);
  EXPECT_EQ(file.costs.stages[0].gradient_bytes, 5);
  EXPECT_EQ(file.memory->state(3), (StateBytes{.parameters = 9, .gradients = 9, .optimizer = 0}));
  CostModel costs;
  take_bytes(costs, parse_memory_file(R"({"stages":[)" + memory + "," + memory + "]}", "m"));
  ASSERT_EQ(costs.stages.size(), 2U);
  EXPECT_EQ(costs.stages[1].activation_bytes, 64);
  costs.stages.resize(3);
  EXPECT_TRUE(has_text(
      error_of([&] {
        take_bytes(costs, parse_memory_file(R"({"stages":[)" + memory + "," + memory + "]}", "m"));
      }),
      "bytes of 2 stages and costs of 3"));
}

TEST(CostFileTest, FaultsAreNamed) {
  const std::string stage = R"("stages":[{"forward":1,"input":1,"weight":1}])";
  const std::pair<std::string, const char*> cases[] = {
      {"{", "c.json: not JSON: "},
      {"[]", "c.json: is array; expected an object with "},
      {"{}", "stages is missing"},
      {R"({"stages":[{"forward":1,"input":1}]})", "stage 0: weight is missing; expected a number"},
      {R"({"stages":[{"forward":1,"input":1,"weigth":1}]})", "did you mean weight?"},
      {R"({"stages":[{"forward":-1,"input":1,"weight":1}]})", "forward is -1"},
      {"{" + stage + R"(,"bandwidth":0})", "bandwidth is 0"},
      {"{" + stage + R"(,"latency":"x"})", "latency is string; expected a number"},
      {"{" + stage + R"(,"links":[{"from":0,"to":0}]})",
       "cost: a link from rank 0 to itself; links join"},
      {"{" + stage + R"(,"links":[{"from":0,"to":1},{"from":0,"to":1}]})", "given twice"},
      {"{" + stage + R"(,"links":[{"from":0.5,"to":1}]})", "expected a whole number"},
      {"{" + stage + R"(,"links":[{"from":0,"to":1e15}]})", "expected a rank below"},
      {"{" + stage + R"(,"rank_speed":[0]})", "rank_speed is 0"},
      {"{" + stage + R"(,"rank_speed":["x"]})", "rank_speed holds string"},
      {"{" + stage + R"(,"occupies_sender":1})",
       "occupies_sender is \"1\"; expected true or false"},
      {"{" + stage + R"(,"updates":"late"})", "expected synchronized or per_rank"},
      {R"({"stages":[{"forward":1,"input":1,"weight":1,"memory":{}}]})",
       "stage 0: memory: until_input is missing"},
  };
  for (const auto& [text, expected] : cases) {
    EXPECT_TRUE(has_text(error_of([&] { parse_cost_file(text, "c.json"); }), expected))
        << text << error_of([&] { parse_cost_file(text, "c.json"); });
  }
  EXPECT_TRUE(has_text(error_of([] { parse_memory_file(R"({"stages":[]})", "m.json"); }),
                       "m.json: stages is empty; expected a list of one or more"));
}

TEST(CostFileTest, MemoryIsGivenToAllStagesOrToNone) {
  const std::string cost = R"("forward":1,"input":1,"weight":1)";
  const std::string memory = R"("memory":{"until_input":1,"until_weight":1,"gradients":1,)"
                             R"("activation_message":1,"gradient_message":1})";
  EXPECT_TRUE(has_text(
      error_of([&] {
        parse_cost_file(R"({"stages":[{)" + cost + "," + memory + "},{" + cost + "}]}", "c.json");
      }),
      "1 of 2 stages have memory"));
}

}  // namespace
}  // namespace halfback
