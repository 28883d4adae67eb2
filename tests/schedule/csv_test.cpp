#include "halfback/schedule/csv.h"

#include "halfback/schedule/communication.h"
#include "halfback/schedule/validate.h"
#include "tests/support/schedules.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace halfback {
namespace {

using testing::error_of;
using testing::has_text;
using testing::parse;

std::string parse_error(const std::string& text) {
  return error_of([&] { parse(text); });
}

TEST(CsvTest, RoundTripsEveryFamilyWithAndWithoutMessages) {
  for (const std::string& name : family_names()) {
    const Schedule schedule = testing::family(name, 4);
    EXPECT_EQ(parse(to_csv(schedule)), schedule);
    EXPECT_EQ(parse(to_csv(add_communication(schedule))), add_communication(schedule));
  }
}

TEST(CsvTest, WritesHeaderAndRows) {
  EXPECT_EQ(to_csv(testing::family("1f1b-1", 2)),
            "# halfback schedule name=1f1b-1 micro_batches=2 placement=0,1\n"
            "0F0,0F1,0I0,0W0,0I1,0W1\n"
            "1F0,1I0,1F1,1I1,1W0,1W1\n");
}

TEST(CsvTest, WritesAndReadsTorchComputeOnly) {
  const Schedule schedule = testing::family("gpipe", 2, false);
  const std::string text = to_csv(schedule, CsvDialect::Torch);
  EXPECT_EQ(text, "0F0,0F1,0B0,0B1\n1F0,1F1,1B0,1B1\n");
  const Schedule read = parse(text);
  EXPECT_EQ(read.ranks, schedule.ranks);
  EXPECT_EQ(read.placement, schedule.placement);
  EXPECT_EQ(read.num_micro_batches, 2);
}

TEST(CsvTest, WritesAndReadsTorchWithMessages) {
  const Schedule schedule = add_communication(testing::family("gpipe", 2));
  const std::string text = to_csv(schedule, CsvDialect::Torch);
  EXPECT_TRUE(has_text(text, "0W1,0REDUCE_GRAD\n")) << text;
  EXPECT_EQ(parse(text).ranks, schedule.ranks);
}

TEST(CsvTest, ReadsTorchFilesOfSeveralStagesARank) {
  const Schedule schedule = parse(
      "0F0,3RECV_F0,0SEND_F0,,0UNSHARD,3F0,3B0,3SEND_B0,0RECV_B0,0B0,0REDUCE_GRAD,3REDUCE_GRAD\r\n"
      "1RECV_F0,1F0,2F0,2SEND_F0,2RECV_B0,2B0,1B0, 1SEND_B0 \r\n\r\n,,\n\n");
  EXPECT_EQ(schedule.placement.replicas.front(), (std::vector<int>{0, 1, 1, 0}));
  EXPECT_EQ(schedule.num_ranks(), 2);
}

TEST(CsvTest, HeaderOfSeveralLinesAndComments) {
  const Schedule schedule = parse(
      "# made by hand\n# halfback schedule name=x\n# halfback schedule micro_batches=1 "
      "placement=0\n#\n0F0,0B0");
  EXPECT_EQ(schedule.name, "x");
  EXPECT_EQ(schedule.num_micro_batches, 1);
}

TEST(CsvTest, UpdatesAreOursOnly) {
  const Schedule schedule = parse("0F0,0B0,0U\n");
  EXPECT_EQ(schedule.ranks[0].back(), (Action{ActionKind::Update, 0, 0}));
  EXPECT_TRUE(has_text(error_of([&] { to_csv(schedule, CsvDialect::Torch); }), "0U"));
}

TEST(CsvTest, ReductionsBelongToTheReplicaOfTheirRank) {
  const std::string text =
      "# halfback schedule micro_batches=3 placement=0,1|1,0 replicas=1,0,1\n"
      "0F1,1F0,1F2,1B0,1B2,1REDUCE_GRAD,0B1,0REDUCE_GRAD\n"
      "0F0,0F2,1F1,1B1,1REDUCE_GRAD,0B0,0B2,0REDUCE_GRAD\n";
  const Schedule schedule = parse(text);
  EXPECT_EQ(schedule.ranks[0][5], (Action{ActionKind::ReduceGradient, 1, 0}));
  EXPECT_EQ(schedule.ranks[0][7], (Action{ActionKind::ReduceGradient, 0, 1}));
  EXPECT_EQ(to_csv(schedule), text);
  validate(schedule);
  EXPECT_TRUE(has_text(error_of([&] { to_csv(schedule, CsvDialect::Torch); }), "replicas"));
  const Schedule elsewhere = parse(
      "# halfback schedule micro_batches=2 placement=0,1|2,3 replicas=0,1\n"
      "0F0,0B0,1REDUCE_GRAD\n1F0,1B0\n0F1,0B1\n1F1,1B1\n");
  EXPECT_TRUE(has_text(error_of([&] { validate(elsewhere); }),
                       "position 2: 1REDUCE_GRAD is on rank 0; stage 1 is placed on rank 1"));
}

TEST(CsvTest, ReductionsOverOneCopyAreSkippedAsAreCellsOfShards) {
  const std::string text = "0UNSHARD,0F0,0B0,0RESHARD,0REDUCE_GRAD,9999999REDUCE_GRAD\n";
  EXPECT_EQ(testing::list_text(parse(text), 0), "0F0 0B0");
  EXPECT_EQ(testing::list_text(parse("# halfback schedule placement=0\n" + text), 0), "0F0 0B0");
}

TEST(CsvTest, NameIsWrittenAsAWord) {
  Schedule schedule = testing::family("naive", 1);
  schedule.name = "my plan,\n#2";
  EXPECT_EQ(parse(to_csv(schedule)).name, "my_plan___2");
}

TEST(CsvTest, FaultNamesFileLineColumnAndCell) {
  EXPECT_EQ(parse_error("0F0,0B0\n1F0, 0F0x,1B0\n"),
            "test.csv: line 2, column 6: '0F0x' is not an action; expected stage, letters, "
            "micro-batch, as in 2F0 or 2SEND_F0, both numbers below 1048576\n"
            "  1F0, 0F0x,1B0\n"
            "       ^^^^\n");
}

TEST(CsvTest, OverlappedActionsRunOneAfterTheOther) {
  EXPECT_EQ(testing::parse("0F0,(0F1; 0B0)OVERLAP_F_B,0B1\n"), testing::parse("0F0,0F1,0B0,0B1\n"));
}

TEST(CsvTest, RefusesWhatIsNoSchedule) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "no row of actions"},
      {"\n\n", "no row of actions"},
      {"# only a comment", "no row of actions"},
      {"0F0,0B0\n\n1F0,1B0\n", "line 3, column 1: a row after a row without actions"},
      {std::string("0F0,0B0\0", 8), "'0B0?' is not an action"},
      {std::string("\xff\xfe\x00\x01", 4), "is not an action"},
      {"0F0;0B0", "is not an action"},
      {"0F0,0F1048576", "is not an action"},
      {"0F0,5B0", "no rank computes stage 1, of 6"},
      {"0F0,2SEND_F0", "no rank computes stage 1"},
      {"0F0,(0F1;0B0)OVERLAP", "is not a group of actions; expected (1F3;2B1)OVERLAP_F_B"},
      {"0F0,(0F1;0B0", "is not a group of actions"},
      {"0F0,(0F1;)OVERLAP_F_B", "is not an action"},
      {"0F0,()OVERLAP_F_B", "is not an action"},
      {"0F0,0UNSHARD1", "is not an action"},
      {"# halfback schedule microbatches=1\n0F0", "unknown key (did you mean micro_batches?)"},
      {"# halfback schedule micro_batches=0\n0F0", "a number from 1"},
      {"# halfback schedule micro_batches=1 micro_batches=1\n0F0", "given twice"},
      {"# halfback schedule placement=0,,1\n0F0", "placement is the rank of each stage"},
      {"# halfback schedule placement=-1\n0F0", "placement is the rank of each stage"},
      {"# halfback schedule placement=0,0|0\n0F0", "a replica of 1 stages after one of 2"},
      {"# halfback schedule placement=0|0 replicas=0,x\n0F0", "replicas is the replica of each"},
      {"# halfback schedule placement=0|0\n0F0", "one entry for each of the 1 micro-batches"},
      {"# halfback schedule placement=0|0 replicas=2\n0F0", "replicas= names 2"},
      {"# halfback schedule placement=7\n0F0,0B0", "places stage 0 on rank 7"},
      {"# halfback schedule placement=0\n1F0,1B0",
       "beyond the 1 stages of the header's placement; correct one of them"},
      {"# halfback schedule micro_batches=2\n0F2", "beyond the header's micro_batches=2"},
      {"# halfback schedule name=a/b\n0F0", "a name is"},
      {"0F0\n# halfback schedule name=a\n", "a header after the first row"},
  };
  for (const auto& [text, expected] : cases) {
    EXPECT_TRUE(has_text(parse_error(text), expected)) << parse_error(text);
    EXPECT_LT(parse_error(text).size(), 400U);
  }
}

TEST(CsvTest, RefusesMoreThanAScheduleCanHold) {
  std::string rows;
  for (int i = 0; i <= kMaxIndex; ++i) {
    rows += "0F0\n";
  }
  EXPECT_TRUE(has_text(parse_error(rows), ": more than 1048576 ranks; check that this is"));
  EXPECT_TRUE(has_text(parse_error(std::string(kMaxCsvCellsPerRow, ',')),
                       "more than 16777216 cells in a row; check that this is a schedule"));
  EXPECT_TRUE(has_text(parse_error(std::string(kMaxCsvBytes + 1, '#')),
                       "268435457 bytes; at most 268435456 are read; check the path"));
}

TEST(CsvTest, LongCellsAndLinesAreCutInMessages) {
  EXPECT_LT(parse_error("0F0," + std::string(1 << 20, 'x')).size(), 400U);
  EXPECT_LT(parse_error(std::string(1 << 20, '0') + "F0").size(), 400U);
}

TEST(CsvTest, RowOfAMillionColumnsIsReadAndChecked) {
  constexpr int kCount = 500'000;
  std::string text;
  for (int i = 0; i < kCount; ++i) {
    text += "0F" + std::to_string(i) + ",0B" + std::to_string(i) + ",";
  }
  const Schedule schedule = parse(text);
  EXPECT_EQ(num_actions(schedule), 2 * kCount);
  validate(schedule);
}

TEST(CsvTest, TwoCellsThatNameManyPairsTakeNoMemory) {
  // 2^20 stages by 2^20 micro-batches: refused for the missing forward, not for lack of memory.
  std::string text = "# halfback schedule micro_batches=1048576 placement=0";
  for (int i = 1; i < (1 << 20); ++i) {
    text += ",0";
  }
  text += "\n0F0,0B0\n";
  EXPECT_TRUE(has_text(error_of([&] { validate(parse(text)); }), "0F1 is missing"));
}

TEST(CsvTest, LoadsFilesAndNamesThoseItCannotRead) {
  const auto path = std::filesystem::temp_directory_path() / "halfback_csv_test.csv";
  std::ofstream(path) << to_csv(testing::family("1f1b-1", 4));
  EXPECT_EQ(load_schedule(path), testing::family("1f1b-1", 4));
  std::filesystem::remove(path);
  EXPECT_TRUE(has_text(error_of([&] { load_schedule(path); }), "cannot open"));
  EXPECT_TRUE(has_text(error_of([&] { load_schedule("/"); }), "cannot read"));
}

}  // namespace
}  // namespace halfback
