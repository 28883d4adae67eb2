#include "halfback/study/rows.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

namespace halfback {
namespace {

using Json = nlohmann::json;

class RowsTest : public ::testing::Test {
 protected:
  std::filesystem::path path() const { return directory_ / "rows.jsonl"; }

  TemporaryDirectory directory_;
  Study study_{.common = {{"steps", "20"}},
               .axes = {{"seed", {{"1", {{"seed", "1"}}}, {"2", {{"seed", "2"}}}}}},
               .trials = {},
               .target = {.validation_loss = 1.5, .validation_accuracy = {}}};
};

TEST_F(RowsTest, StayOverAProgramThatIsKilledWhileItWrites) {
  {
    StudyRows rows(path(), study_);
    EXPECT_TRUE(rows.rows().empty());
    rows.add({{"run", 1}, {"loss", 0.5}});
  }
  OutputFile(path(), OpenMode::Append).write("{\"run\": 0, \"lo");
  EXPECT_EQ(load_rows(path()).size(), 1U);
  EXPECT_EQ(done_runs(path(), study_), std::set<int>{1});
  StudyRows again(path(), study_);
  ASSERT_EQ(again.rows().size(), 1U);
  EXPECT_TRUE(again.has(1));
  EXPECT_FALSE(again.has(0));
  again.add({{"run", 0}});
  EXPECT_EQ(load_rows(path()), (std::vector<Json>{{{"run", 1}, {"loss", 0.5}}, {{"run", 0}}}));
}

TEST_F(RowsTest, AreOfOneStudy) {
  StudyRows(path(), study_).add({{"run", 1}});
  const auto refusal = [&](auto change) {
    Study other = study_;
    change(other);
    return text_of_thrown<ConfigError>([&] { StudyRows(path(), other); });
  };
  EXPECT_EQ(refusal([](Study& other) { other.common[0].value = "30"; }),
            path().string() +
                ": the rows are of another study: [run] steps differs; undo the change, or choose "
                "another --output");
  EXPECT_TRUE(contains(refusal([](Study& other) { other.common.clear(); }), "[run] steps differs"));
  EXPECT_TRUE(contains(refusal([](Study& other) { other.axes[0].values.pop_back(); }),
                       "[grid] seed differs"));
  EXPECT_TRUE(contains(refusal([](Study& other) { other.target.validation_loss = 1.0; }),
                       "[target] validation-loss differs"));
  EXPECT_TRUE(contains(refusal([](Study& other) {
                         other.trials.options.push_back({"clip", {0.0, 1.0}});
                       }),
                       "[trials] clip differs"));
  EXPECT_TRUE(contains(refusal([](Study& other) { other.measures.first_layer = true; }),
                       "[measure] first-layer differs"));
  EXPECT_TRUE(contains(refusal([](Study& other) { other.measures.lipschitz = 8; }),
                       "[measure] lipschitz differs"));
  EXPECT_EQ(load_rows(path()).size(), 1U) << "nothing is lost";
}

TEST_F(RowsTest, NoneAreDoneWhereThereIsNoFile) {
  EXPECT_TRUE(done_runs(path(), study_).empty());
  EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST_F(RowsTest, LeaveAFileOfAnotherKindAlone) {
  write_file_atomically(path(), "{\"steps\": 3}\n");
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { StudyRows(path(), study_); }),
                       "the first line does not say of which study it is"));
  EXPECT_EQ(read_file(path()), "{\"steps\": 3}\n");
  write_file_atomically(path(), "no JSON\n");
  EXPECT_TRUE(
      contains(text_of_thrown<FileError>([&] { StudyRows(path(), study_); }), "rows.jsonl:1"));
  write_file_atomically(path(), Json{{"study", description_of(study_)}}.dump() + "\n[1]\n");
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { StudyRows(path(), study_); }),
                       "rows.jsonl:2: the row does not say of which run it is"));
}

}  // namespace
}  // namespace halfback
