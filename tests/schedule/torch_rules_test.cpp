#include "halfback/schedule/torch_rules.h"

#include "halfback/schedule/passes.h"
#include "tests/support/schedules.h"

#include <gtest/gtest.h>

namespace halfback {
namespace {

using testing::has_text;

constexpr const char* kPlain = "0F0,0F1,0B0,0B1\n1F0,1B0,1F1,1B1\n";

std::vector<TorchFinding> findings(const std::string& text) {
  return check_for_torch(testing::parse(text), text);
}

TEST(TorchRulesTest, WhatWeWriteForItRuns) {
  for (const Family& family : families()) {
    if (family.replicas > 1) {
      continue;
    }
    const Schedule schedule = testing::family(family.name, 4);
    EXPECT_TRUE(check_for_torch(schedule, to_csv(schedule, CsvDialect::Torch)).empty());
    const Schedule lowered = add_communication(schedule);
    EXPECT_TRUE(check_for_torch(lowered, to_csv(lowered, CsvDialect::Torch)).empty());
  }
}

// The forms of one fault each; tests/python/torch_exchange.py runs the same in PyTorch.
TEST(TorchRulesTest, EachFaultIsFoundAlone) {
  const std::vector<std::pair<std::string, const char*>> cases = {
      {std::string("# plan\n") + kPlain, "line 1: a comment"},
      {std::string(kPlain) + "\n", "line 3: a blank line"},
      {std::string("0UNSHARD,") + kPlain, "'0UNSHARD' in a file without messages"},
      {"0F0,0F1,0B0,0B1\n1F1,1F0,1B0,1B1\n", "1F0 comes after 1F1"},
  };
  for (const auto& [text, expected] : cases) {
    const auto found = findings(text);
    ASSERT_EQ(found.size(), 1U) << text;
    EXPECT_TRUE(has_text(found.front().text, expected)) << found.front().text;
  }
  EXPECT_TRUE(findings(kPlain).empty());
  EXPECT_TRUE(findings("0F0,,0F1,0B0,0B1\n1F0,1B0,1F1,1B1\n").empty());
}

TEST(TorchRulesTest, FilesWithMessagesNeedTheirReduceCells) {
  const std::string text = "0F0,0SEND_F0,,0RECV_B0,0B0,0REDUCE_GRAD\n1RECV_F0,1F0,1B0,1SEND_B0\n";
  const auto found = findings(text);
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].kind, TorchFinding::Kind::Refused);
  EXPECT_TRUE(has_text(found[0].text, "line 1: an empty cell"));
  EXPECT_EQ(found[1].kind, TorchFinding::Kind::Wrong);
  EXPECT_TRUE(has_text(found[1].text, "stage 1 has no 1REDUCE_GRAD cell"));
}

TEST(TorchRulesTest, WhatItCannotSayIsRefused) {
  const Schedule two = testing::family("chimera", 4);
  EXPECT_TRUE(has_text(check_for_torch(two, "").front().text, "2 replicas of the weights"));
  const Schedule update = testing::parse("0F0,0B0,0U\n");
  EXPECT_TRUE(has_text(check_for_torch(update, "").front().text, "0U updates a stage"));
}

}  // namespace
}  // namespace halfback
