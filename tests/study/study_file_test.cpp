#include "halfback/study/study_file.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <set>

namespace halfback {
namespace {

class StudyFileTest : public ::testing::Test {
 protected:
  std::string path() const { return (directory_ / "a.toml").string(); }

  Study load(const std::string& text) const {
    write_file_atomically(path(), text);
    return load_study(path());
  }

  // Returns what follows the path in the message.
  std::string refusal(const std::string& text) const {
    const std::string found = text_of_thrown<ConfigError>([&] { load(text); });
    EXPECT_TRUE(found.starts_with(path())) << found;
    return found.substr(path().size());
  }

  TemporaryDirectory directory_;
};

std::string text_of(const std::vector<Setting>& settings) {
  std::string text;
  for (const Setting& setting : settings) {
    text += " --" + setting.option + "=" + setting.value;
  }
  return text;
}

TEST_F(StudyFileTest, MeasuresAreChosen) {
  EXPECT_FALSE(load("[run]\nsteps = 2\n").measures.first_layer);
  const Study study = load("[measure]\nfirst-layer = true\ncosines = false\n");
  EXPECT_TRUE(study.measures.first_layer);
  EXPECT_FALSE(study.measures.cosines);
  EXPECT_EQ(study.measures.lipschitz, 0);
  EXPECT_EQ(load("[measure]\nlipschitz = 500\n").measures.lipschitz, 500);
}

TEST_F(StudyFileTest, RunsAreAllCombinations) {
  const Study study = load(
      "[run]\nsteps = 20\ndata = \"a b.txt\"\nclip = 0.5\nshard-optimizer = true\n"
      "[grid]\n"
      "scheme = [\"backprop\", {name = \"two chunks\", scheme = \"chunked\", chunks = 2}]\n"
      "learning-rate = [1e-3, 0.01]\nbatch-size = [16]\n"
      "[target]\nvalidation-loss = 1\n");
  EXPECT_EQ(study.target.validation_loss, 1.0);
  const std::vector<StudyRun> runs = runs_of(study);
  ASSERT_EQ(runs.size(), 4U);
  const std::string common = " --steps=20 --data=a b.txt --clip=0.5 --shard-optimizer=true";
  EXPECT_EQ(text_of(runs[0].settings),
            common + " --scheme=backprop --learning-rate=0.001 --batch-size=16");
  EXPECT_EQ(text_of(runs[3].settings),
            common + " --scheme=chunked --chunks=2 --learning-rate=0.01 --batch-size=16");
  EXPECT_EQ(text_of(runs[3].place), " --scheme=two chunks --learning-rate=0.01 --batch-size=16");
  EXPECT_EQ(runs[3].number, 3);
}

TEST_F(StudyFileTest, EachCombinationHasTheSameTrials) {
  const Study study = load(
      "[grid]\nseed = [1, 2]\n[trials]\ncount = 8\nseed = 5\n"
      "learning-rate = {low = 1e-4, high = 1, scale = \"log\"}\n"
      "warmup = {low = 1, high = 4, integer = true}\n");
  const std::vector<StudyRun> runs = runs_of(study);
  ASSERT_EQ(runs.size(), 16U);
  std::set<std::string> warmups;
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(runs[i].settings[1], runs[i + 8].settings[1]);
    EXPECT_EQ(runs[i].place[1], (Setting{"trial", std::to_string(i)}));
    warmups.insert(runs[i].settings[2].value);
  }
  EXPECT_EQ(warmups, (std::set<std::string>{"1", "2", "3", "4"}));
}

TEST_F(StudyFileTest, WithoutListsThereIsOneRun) {
  EXPECT_EQ(runs_of(load("[run]\nsteps = 3\n")).size(), 1U);
}

TEST_F(StudyFileTest, SaysWhatItDoesNotUnderstand) {
  EXPECT_EQ(refusal("[runs]\n"),
            ":1: runs is not known here (did you mean run?); expected run, grid, "
            "trials, target, measure");
  EXPECT_EQ(refusal("run = 3\n"), ":1: run is not a table; write [run]");
  EXPECT_EQ(refusal("[run]\n\nsteps = [1]\n"),
            ":3: steps is a list, a table or a date; expected one value");
  EXPECT_EQ(refusal("[grid]\nseed = 3\n"),
            ":2: seed: expected a list of values, such as [1, 2, 3]");
  EXPECT_EQ(refusal("[grid]\nseed = []\n"),
            ":2: seed: expected a list of values, such as [1, 2, 3]");
  EXPECT_EQ(refusal("[grid]\nseed = [1, 1]\n"), ":2: seed: '1' stands there twice");
  EXPECT_EQ(refusal("[run]\nseed = 1\n[grid]\nseed = [1, 2]\n"),
            ":4: seed is given in another place too; leave one of them out");
  EXPECT_EQ(refusal("[grid]\nscheme = [{scheme = \"greedy\"}]\n"),
            ":2: scheme: a value that is a table needs a name, for tables and figures");
  EXPECT_TRUE(contains(refusal("[trials]\ncount = 0\n"), "a whole number of 1 or more"));
  EXPECT_TRUE(
      contains(refusal("[trials]\ncount = 4\n"), "[trials] has 0 ranges; expected 1 to 16"));
  EXPECT_TRUE(contains(refusal("[trials]\nclip = {low = 2, high = 1}\n"),
                       ":2: clip: the range is from 2 to 1"));
  EXPECT_TRUE(contains(refusal("[trials]\nclip = {low = 1, hihg = 2}\n"),
                       ":2: hihg is not known here (did you mean high?)"));
  EXPECT_TRUE(contains(refusal("[trials]\nclip = {low = 1, high = 2, scale = \"liner\"}\n"),
                       ":2: liner is not known here (did you mean linear?)"));
  EXPECT_EQ(refusal("[measure]\ncosines = 1\n"),
            ":2: cosines: expected true or false without quotes");
  EXPECT_TRUE(contains(refusal("[measure]\ncosine = true\n"), "(did you mean cosines?)"));
  EXPECT_EQ(refusal("[measure]\nfirst-layer = \"true\"\n"),
            ":2: first-layer: expected true or false without quotes");
  EXPECT_TRUE(contains(refusal("[target]\nloss = 1\n"), ":2: loss is not known here"));
  EXPECT_TRUE(
      contains(refusal("[target]\nvalidation-loss = \"1\"\n"), "expected a number, as in 0.5"));
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { load("[run\n"); }), "a.toml:1: no TOML"));
  EXPECT_TRUE(contains(text_of_thrown<FileError>([] { load_study("/nowhere.toml"); }),
                       "/nowhere.toml: no such study file"));
}

}  // namespace
}  // namespace halfback
