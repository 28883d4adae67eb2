#include "halfback/study/study_table.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace halfback {
namespace {

using Json = nlohmann::json;

Json row(int run, const Json& place, const char* status, double steps, double loss) {
  return {{"run", run},
          {"place", place},
          {"status", status},
          {"steps", steps},
          {"seconds", 2.0},
          {"step_seconds", 0.0125},
          {"samples_per_step", 8},
          {"loss", loss},
          {"validation_loss", loss},
          {"sent_up", 64},
          {"sent_down", 0}};
}

Json place(const char* scheme, const char* seed) {
  return Json::array({Json::array({"scheme", scheme}), Json::array({"seed", seed})});
}

// Rows come in the order in which runs have ended.
std::vector<Json> rows() {
  return {row(3, place("greedy, all", "2"), "incomplete", 90, 2.0),
          row(0, place("backprop", "1"), "complete", 30, 1.0),
          row(1, place("backprop", "2"), "complete", 40, 1.5),
          row(2, place("greedy, all", "1"), "infeasible", 7, std::nan(""))};
}

TEST(StudyTableTest, ALineIsForAllSeeds) {
  const std::vector<StudyLine> lines = lines_of(rows());
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0].place, (std::vector<Setting>{{"scheme", "backprop"}}));
  EXPECT_EQ(lines[0].steps.count, 2);
  EXPECT_EQ(lines[0].steps.median, 35.0);
  EXPECT_EQ(lines[1].num_infeasible, 1);
  EXPECT_EQ(lines[1].num_incomplete, 1);
  EXPECT_EQ(lines[1].steps.count, 0);
  EXPECT_EQ(lines[1].validation_loss.count, 1) << "what is not a number is no value";
}

TEST(StudyTableTest, TheTableLeavesOutWhatNoLineHas) {
  EXPECT_EQ(
      to_text(lines_of(rows())),
      "scheme       n  complete  infeasible  steps        validation loss  step ms\n"
      "backprop     2  2         0           35 [30, 40]  1.25 [1, 1.5]    12.5 [12.5, 12.5]\n"
      "greedy, all  2  0         1                        2                12.5 [12.5, 12.5]\n");
  EXPECT_EQ(to_text({}), "no run has ended yet\n");
}

TEST(StudyTableTest, FirstLayersHaveColumns) {
  std::vector<Json> all = rows();
  all[1]["first_layer_cka"] = 0.5;
  all[1]["first_layer_angle"] = 0.75;
  all[1]["first_layer_largest_angle"] = 1.5;
  all[2]["first_layer_cka"] = 0.25;
  const std::string text = to_text(lines_of(all));
  EXPECT_NE(text.find("first-layer CKA    first-layer angle  step ms"), std::string::npos) << text;
  EXPECT_NE(text.find("  0.375 [0.25, 0.5]  0.75  "), std::string::npos) << text;
  EXPECT_NE(to_csv(all).find(
                "\n0,backprop,1,complete,30.0,2.0,0.0125,8,,,,1.0,1.0,,64,0,0.5,0.75,1.5,\n"),
            std::string::npos);
}

TEST(StudyTableTest, OfTrialsTheBestCountsForEachSeed) {
  const auto trial = [](int run, const char* seed, const char* number, double steps) {
    const Json place = Json::array({Json::array({"seed", seed}), Json::array({"trial", number}),
                                    Json::array({"clip", "0.5"})});
    return row(run, place, "complete", steps, steps);
  };
  const std::vector<StudyLine> lines = lines_of({trial(0, "1", "0", 50), trial(1, "1", "1", 30),
                                                 trial(2, "2", "0", 40), trial(3, "2", "1", 60)});
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].num_complete, 4);
  EXPECT_EQ(lines[0].steps.count, 2);
  EXPECT_EQ(lines[0].steps.median, 35.0);
  EXPECT_TRUE(lines[0].place.empty());
}

// All numbers of a line are of the same trials.
TEST(StudyTableTest, TheTrialThatCountsGivesAllNumbers) {
  const auto trial = [](int run, const char* number, const char* status, double steps, double loss,
                        double lipschitz) {
    const Json place = Json::array({Json::array({"seed", "1"}), Json::array({"trial", number})});
    Json one = row(run, place, status, steps, loss);
    one["lipschitz"] = lipschitz;
    return one;
  };
  const auto line = [](const std::vector<Json>& rows) { return lines_of(rows).front(); };
  const Json missed = trial(0, "0", "incomplete", 90, 0.5, 1.0);
  const Json worse = trial(1, "1", "incomplete", 90, 0.75, 0.5);
  const Json slow = trial(2, "2", "complete", 60, 0.25, 2.0);
  const Json fast = trial(3, "3", "complete", 40, 0.375, 4.0);
  const StudyLine found = line({missed, worse, slow, fast});
  EXPECT_EQ(found.steps.median, 40.0);
  EXPECT_EQ(found.validation_loss.median, 0.375);
  EXPECT_EQ(found.lipschitz.median, 4.0);
  const StudyLine none = line({worse, missed});
  EXPECT_EQ(none.steps.count, 0);
  EXPECT_EQ(none.validation_loss.median, 0.5);
  EXPECT_EQ(none.lipschitz.median, 1.0);
}

TEST(StudyTableTest, TheCsvHasARowForEachRun) {
  const std::string text = to_csv(rows());
  EXPECT_EQ(text.substr(0, text.find('\n')),
            "run,scheme,seed,status,steps,seconds,step_seconds,samples_per_step,flops,"
            "parallel_flops,sparse_flops,loss,"
            "validation_loss,validation_accuracy,sent_up,sent_down,first_layer_cka,"
            "first_layer_angle,first_layer_largest_angle,lipschitz");
  EXPECT_NE(text.find("\n0,backprop,1,complete,30.0,2.0,0.0125,8,,,,1.0,1.0,,64,0,,,,\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("\n2,\"greedy, all\",1,infeasible,7.0,2.0,0.0125,8,,,,,,,64,0,,,,\n"),
            std::string::npos)
      << text;
}

}  // namespace
}  // namespace halfback
