#include "halfback/study/missed_target.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>

namespace halfback {
namespace {

using Json = nlohmann::json;

Json row(int run, const char* status, const Json& losses, const Json& accuracies) {
  return {{"run", run},
          {"place", Json::array({Json::array({"scheme", "greedy"}),
                                 Json::array({"seed", std::to_string(run)})})},
          {"status", status},
          {"curve", {{"validation_loss", losses}, {"validation_accuracy", accuracies}}}};
}

const std::vector<Json> kRows = {
    row(2, "incomplete", {2.5, 1.25, 1.75}, {0.25, 0.75, 0.5}),
    row(1, "infeasible", {1.5, nullptr}, {0.8125, nullptr}),
};

TEST(MissedTargetTest, TheBestOfAllValidationsIsSaid) {
  EXPECT_EQ(
      missed_target(kRows, {.validation_loss = {}, .validation_accuracy = 0.95}),
      "no run reached validation accuracy 0.95; the best had 0.8125 (run 1: scheme greedy, seed "
      "1)\n");
  EXPECT_EQ(missed_target(kRows, {.validation_loss = 1.0, .validation_accuracy = {}}),
            "no run reached validation loss 1; the best had 1.25 (run 2: scheme greedy, seed 2)\n");
  EXPECT_EQ(missed_target(kRows, {.validation_loss = 1.0, .validation_accuracy = 0.5}),
            "no run reached validation loss 1 with validation accuracy 0.5; the best had 1.25 (run "
            "2: scheme greedy, seed 2) and 0.8125 (run 1: scheme greedy, seed 1)\n");
}

TEST(MissedTargetTest, WithoutAValidationNoBestIsSaid) {
  EXPECT_EQ(missed_target({row(1, "infeasible", Json::array(), Json::array())},
                          {.validation_loss = 1.0, .validation_accuracy = {}}),
            "no run reached validation loss 1\n");
}

TEST(MissedTargetTest, NothingIsSaidWhereARunIsThereOrNoneHasEndedOrThereIsNoTarget) {
  std::vector<Json> rows = kRows;
  EXPECT_EQ(missed_target(rows, {}), "");
  EXPECT_EQ(missed_target({}, {.validation_loss = 1.0, .validation_accuracy = {}}), "");
  rows[0]["status"] = "complete";
  EXPECT_EQ(missed_target(rows, {.validation_loss = 1.0, .validation_accuracy = {}}), "");
}

}  // namespace
}  // namespace halfback
