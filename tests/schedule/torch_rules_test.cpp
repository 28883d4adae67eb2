#include "halfback/schedule/torch_rules.h"

#include "halfback/schedule/communication.h"
#include "tests/support/schedules.h"

#include <gtest/gtest.h>

#include <tuple>

namespace halfback {
namespace {

using testing::has_text;

constexpr const char* kPlain = "0F0,0F1,0B0,0B1\n1F0,1B0,1F1,1B1\n";

std::vector<TorchFinding> findings(const std::string& text) {
  return check_for_torch(testing::parse(text), text);
}

TEST(TorchRulesTest, WhatWeWriteForItRuns) {
  for (const Family& family : families()) {
    if (family.replicas > 1 || *family.complete({}).stage_updates) {
      continue;
    }
    const Schedule schedule = testing::family(family.name, 4);
    EXPECT_TRUE(check_for_torch(schedule, to_csv(schedule, CsvDialect::Torch)).empty());
    const Schedule lowered = add_communication(schedule, kRendezvous);
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

TEST(TorchRulesTest, ReduceCellsStandOnceAfterTheLastBackwardOfTheirRank) {
  const std::string first = "0F0,0SEND_F0,0F1,0SEND_F1,0RECV_B0,0B0,0RECV_B1,";
  const std::string second =
      "\n1RECV_F0,1F0,1RECV_F1,1F1,1I0,1SEND_B0,1B1,1SEND_B1,1W0,1REDUCE_GRAD\n";
  const auto with = [&](const std::string& end) { return findings(first + end + second); };
  EXPECT_TRUE(with("0B1,0REDUCE_GRAD").empty());
  EXPECT_TRUE(with("0B1,00REDUCE_GRAD,0RESHARD").empty());
  EXPECT_TRUE(with("(0B1)OVERLAP_F_B,0REDUCE_GRAD").empty());
  const std::vector<std::tuple<const char*, TorchFinding::Kind, const char*>> cases = {
      {"0REDUCE_GRAD,0B1", TorchFinding::Kind::Wrong, "line 1: '0REDUCE_GRAD' comes after 1 of 2"},
      {"0B1,0REDUCE_GRAD,0REDUCE_GRAD", TorchFinding::Kind::Wrong, "'0REDUCE_GRAD' a second time"},
      {"0B1,0REDUCE_GRAD,1REDUCE_GRAD", TorchFinding::Kind::Refused,
       "'1REDUCE_GRAD' speaks of a stage that is not on rank 0"},
      {"0B1,0REDUCE_GRAD,7UNSHARD", TorchFinding::Kind::Refused,
       "'7UNSHARD' speaks of a stage that is not on rank 0"},
      {"0B1,0REDUCE_GRAD,99999999999999999999RESHARD", TorchFinding::Kind::Refused,
       "speaks of a stage that is not on rank 0"},
  };
  for (const auto& [end, kind, expected] : cases) {
    const auto found = with(end);
    ASSERT_EQ(found.size(), 1U) << end;
    EXPECT_EQ(found.front().kind, kind) << end;
    EXPECT_TRUE(has_text(found.front().text, expected)) << found.front().text;
  }
}

TEST(TorchRulesTest, WhatItCannotSayIsRefused) {
  const Schedule two = testing::family("chimera", 4);
  EXPECT_TRUE(has_text(check_for_torch(two, "").front().text, "2 replicas of the weights"));
  const Schedule update = testing::parse("0F0,0B0,0U\n");
  EXPECT_TRUE(has_text(check_for_torch(update, "").front().text, "0U updates a stage"));
}

}  // namespace
}  // namespace halfback
