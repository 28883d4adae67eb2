// The row of a run of a study: what it measures besides losses.
#include "halfback/measure/study_run.h"

#include "halfback/base/error.h"
#include "halfback/measure/flop_costs.h"
#include "halfback/schedule/families.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_training.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace halfback::testing {
namespace {

class StudyRunTest : public ::testing::Test {
 protected:
  StudyRunTest() { spit(data_, tiny_text()); }

  TrainingConfig config() const {
    TrainingConfig made = tiny_training(data_);
    made.evaluate_every = 2;
    made.num_steps = 5;
    return made;
  }

  TemporaryDirectory directory_;
  std::filesystem::path data_ = directory_ / "text.txt";
};

TEST_F(StudyRunTest, CountsTheOperationsThatPruningLeaves) {
  TrainingConfig made = config();
  const nlohmann::json dense = train_for_study(made, {});
  EXPECT_FALSE(dense.contains("sparse_flops"));
  made.pruning = {.sparsity = 0.75, .method = PruneMethod::Random};
  const nlohmann::json sparse = train_for_study(made, {});
  EXPECT_EQ(sparse.at("flops"), dense.at("flops"));
  const double ratio = sparse.at("sparse_flops").get<double>() / dense.at("flops").get<double>();
  EXPECT_GT(ratio, 0.25) << "attention has all of its products of activations";
  EXPECT_LT(ratio, 0.4);
}

TEST_F(StudyRunTest, MeasuresTheSmoothnessAtEachValidationAndChangesNothing) {
  const TrainingConfig made = config();
  const nlohmann::json plain = train_for_study(made, {});
  const nlohmann::json measured = train_for_study(made, {}, {.lipschitz = 16});
  const auto all = measured.at("curve").at("lipschitz").get<std::vector<double>>();
  EXPECT_EQ(measured.at("curve").at("step"), nlohmann::json({2, 4, 5}));
  ASSERT_EQ(all.size(), 3U);
  double sum = 0.0;
  for (const double one : all) {
    EXPECT_GT(one, 0.0);
    sum += one;
  }
  EXPECT_DOUBLE_EQ(measured.at("lipschitz").get<double>(), sum / 3.0);
  EXPECT_EQ(measured.at("curve").at("validation_loss"), plain.at("curve").at("validation_loss"));
  EXPECT_EQ(measured.at("loss"), plain.at("loss"));
}

TEST_F(StudyRunTest, NoSmoothnessWithoutABarrier) {
  TrainingConfig made = config();
  made.schedule =
      make_runnable(build_schedule("local-greedy", {.num_ranks = 2, .num_micro_batches = 4}));
  made.pipeline.update.clip_scope = ClipScope::Stage;
  EXPECT_TRUE(
      contains(text_of_thrown<ConfigError>([&] { train_for_study(made, {}, {.lipschitz = 16}); }),
               "lipschitz needs the values between two steps"));
}

}  // namespace
}  // namespace halfback::testing
