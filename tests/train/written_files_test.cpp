// Which files of a directory a run may replace: those that one has written, and nobody since.
#include "halfback/train/written_files.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace halfback::testing {
namespace {

using Names = std::set<std::string>;

FileSummary summary_of(const std::string& bytes) {
  FileSummary summary;
  summary.add(bytes);
  return summary;
}

TEST(WrittenFilesTest, KnowsWhatAnEarlierRunHasWritten) {
  const TemporaryDirectory directory;
  spit(directory / "other", "mine");
  WrittenFiles first(directory.path());
  EXPECT_EQ(first.own(), Names{});
  first.write("page", "one");
  first.write("page", "two");
  first.finish({}, 3);
  EXPECT_EQ(slurp(directory / "page"), "two");
  EXPECT_EQ(WrittenFiles(directory.path()).own(), Names{"page"});
}

TEST(WrittenFilesTest, WhatSomebodyHasAlteredIsNotOurs) {
  const TemporaryDirectory directory;
  WrittenFiles(directory.path()).write("page", "one");
  spit(directory / "page", "One");
  WrittenFiles second(directory.path());
  EXPECT_EQ(second.own(), Names{});
  for (const char* name : {"page", "other"}) {
    spit(directory / name, "mine");
    EXPECT_EQ(text_of_thrown<FileError>([&] { second.write(name, "new"); }),
              (directory / name).string() +
                  ": is not as a run has written it; a report would replace it; move it away or "
                  "choose another --report");
    EXPECT_EQ(slurp(directory / name), "mine");
  }
}

// A run that was killed has written more than it has noted.
TEST(WrittenFilesTest, AFileThatGrowsBeginsAsNotedUntilTheRunHasEnded) {
  const TemporaryDirectory directory;
  WrittenFiles run(directory.path());
  spit(directory / "log", "one\n");
  run.note({{"log", summary_of("one\n")}});
  spit(directory / "log", "one\ntwo\n");
  EXPECT_EQ(WrittenFiles(directory.path()).own(), Names{"log"});
  run.finish({{"log", summary_of("one\ntwo\n")}}, 2);
  EXPECT_EQ(WrittenFiles(directory.path()).own(), Names{"log"});
  spit(directory / "log", "one\ntwo\nmine\n");
  EXPECT_EQ(WrittenFiles(directory.path()).own(), Names{});
}

TEST(WrittenFilesTest, AListThatIsNotAsItWasWrittenIsRefused) {
  const TemporaryDirectory directory;
  spit(directory / "report.json", "{}");
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { WrittenFiles files(directory.path()); }),
                       "report.json: "));
}

}  // namespace
}  // namespace halfback::testing
