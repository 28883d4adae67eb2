#include "halfback/study/fit_table.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace halfback {
namespace {

using Json = nlohmann::json;

Json row(const std::vector<Setting>& place, double steps, const char* status = "complete") {
  static int num_rows = 0;
  Json labels = Json::array();
  for (const auto& [axis, label] : place) {
    labels.push_back(Json::array({axis, label}));
  }
  return {{"run", num_rows++}, {"place", labels}, {"status", status}, {"steps", steps}};
}

// Rows of one line, whose steps are exactly c1 / B + c2 in the middle of three seeds.
void add_line(std::vector<Json>& rows,
              const std::vector<Setting>& place,
              double c1,
              double c2,
              double spread = 0.0) {
  for (const char* batch : {"64", "16", "32"}) {
    for (const int seed : {1, 2, 3}) {
      std::vector<Setting> all = place;
      all.push_back({"batch-size", batch});
      all.push_back({"seed", std::to_string(seed)});
      rows.push_back(row(all, (c1 / std::stod(batch) + c2) * (1.0 + spread * (seed - 2))));
    }
  }
}

TEST(FitTableTest, FindsWhatTheStepsFollow) {
  std::vector<Json> rows;
  add_line(rows, {{"scheme", "greedy"}}, 6400.0, 50.0, 0.125);
  const std::vector<FitLine> lines = fits_of(rows);
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].place, (std::vector<Setting>{{"scheme", "greedy"}}));
  ASSERT_EQ(lines[0].points.size(), 3U);
  EXPECT_EQ(lines[0].points[0].batch, 16.0) << "ascending";
  EXPECT_EQ(lines[0].points[0].steps, 450.0);
  ASSERT_TRUE(lines[0].fit);
  EXPECT_NEAR(lines[0].fit->c1, 6400.0, 1e-9);
  EXPECT_NEAR(lines[0].fit->c2, 50.0, 1e-9);
  EXPECT_NEAR(lines[0].fit->knee(), 128.0, 1e-9);
  EXPECT_NEAR(lines[0].fit->r_squared, 1.0, 1e-12);
  // Seeds are drawn alike for all batch sizes: each sample is the line times its middle seed.
  EXPECT_NEAR(lines[0].c1.low, 6400.0 * 0.875, 1e-9);
  EXPECT_NEAR(lines[0].c1.high, 6400.0 * 1.125, 1e-9);
  EXPECT_NEAR(lines[0].c2.low, 50.0 * 0.875, 1e-9);
  EXPECT_FALSE(lines[0].c1_ratio);
}

TEST(FitTableTest, ASparseLineIsComparedWithTheDenseOneOfItsPlace) {
  std::vector<Json> rows;
  add_line(rows, {{"scheme", "greedy"}, {"sparsity", "0.9"}}, 9600.0, 100.0);
  add_line(rows, {{"scheme", "greedy"}, {"sparsity", "0"}}, 6400.0, 50.0);
  add_line(rows, {{"scheme", "backprop"}, {"sparsity", "0.9"}}, 6400.0, 50.0);
  const std::vector<FitLine> lines = fits_of(rows);
  ASSERT_EQ(lines.size(), 3U);
  ASSERT_TRUE(lines[0].c1_ratio && lines[0].c2_ratio);
  EXPECT_NEAR(*lines[0].c1_ratio, 1.5, 1e-12);
  EXPECT_NEAR(*lines[0].c2_ratio, 2.0, 1e-12);
  EXPECT_EQ(lines[1].c1_ratio, 1.0);
  EXPECT_FALSE(lines[2].c1_ratio) << "no dense line of backprop";
}

TEST(FitTableTest, OnlyBatchesWithCompleteRunsCount) {
  std::vector<Json> rows;
  add_line(rows, {{"scheme", "backprop"}}, 6400.0, 50.0);
  for (const char* batch : {"16", "32", "64"}) {
    const bool is_missed = std::string(batch) == "32";
    rows.push_back(row({{"scheme", "greedy"}, {"batch-size", batch}, {"seed", "1"}}, 100.0,
                       is_missed ? "incomplete" : "complete"));
  }
  const std::vector<FitLine> lines = fits_of(rows);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[1].points.size(), 2U);
  EXPECT_FALSE(lines[1].fit);
  EXPECT_EQ(fit_json(lines).size(), 1U);
  EXPECT_EQ(
      fit_text(lines),
      "steps to the target = c1 / batch size + c2; both parts are equal at the knee\n"
      "scheme    batches  c1    c1 low  c1 high  c2  c2 low  c2 high  R^2  first slope  knee\n"
      "backprop  3        6400  6400    6400     50  50      50       1    -0.7925      128\n"
      "greedy    2\n");
  EXPECT_EQ(fit_csv(lines).substr(0, fit_csv(lines).find('\n')),
            "scheme,batches,c1,c1 low,c1 high,c2,c2 low,c2 high,R^2,first slope,knee,c1 / dense,c2 "
            "/ dense");
}

TEST(FitTableTest, WithoutBatchSizesThereIsNothing) {
  EXPECT_TRUE(fits_of({}).empty());
  EXPECT_TRUE(fits_of({row({{"scheme", "greedy"}, {"seed", "1"}}, 100.0)}).empty());
  EXPECT_TRUE(fits_of({row({{"batch-size", "16"}, {"seed", "1"}}, 100.0)}).empty());
  EXPECT_EQ(fit_text({}), "");
}

}  // namespace
}  // namespace halfback
