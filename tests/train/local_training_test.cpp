// Runs that train by losses inside the model: heads stay with the training, and a run resumes on
// another number of stages whose losses are at the same blocks.
#include "halfback/base/error.h"
#include "halfback/checkpoint/kept_checkpoints.h"
#include "halfback/checkpoint/safetensors.h"
#include "halfback/schedule/families.h"
#include "halfback/train/training.h"
#include "tests/support/errors.h"
#include "tests/support/idx_files.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_training.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>

namespace halfback::testing {
namespace {

class LocalTrainingTest : public ::testing::Test {
 protected:
  LocalTrainingTest() { spit(data_, tiny_text()); }

  TrainingConfig config(const std::string& name, const PipelineShape& shape) const {
    TrainingConfig made = tiny_training(data_);
    PipelineShape whole = shape;
    whole.num_micro_batches = 4;
    made.schedule = make_runnable(build_schedule(name, whole));
    made.pipeline.update = {.clip_norm = 0.0};
    return made;
  }

  TrainingConfig at(const std::string& checkpoint, TrainingConfig made) const {
    made.checkpoint = directory_ / checkpoint;
    return made;
  }

  TrainingConfig resumed(const std::string& checkpoint, TrainingConfig made) const {
    made = at(checkpoint, std::move(made));
    made.resumes_from = find_resume_point(made.checkpoint);
    return made;
  }

  std::string model_bytes(const std::string& checkpoint) const {
    return slurp(directory_ / checkpoint / "model.safetensors");
  }

  TemporaryDirectory directory_;
  std::filesystem::path data_ = directory_ / "text.txt";
};

bool is_of_head(const std::string& name) { return name.find("local_heads.") != std::string::npos; }

TEST_F(LocalTrainingTest, HeadsStayOutOfTheModel) {
  losses_of(at("a", config("local-greedy", {.num_ranks = 2})));
  losses_of(at("b", config("1f1b", {.num_ranks = 2})));
  const std::vector<std::string> names = SafetensorsDirectory(directory_ / "a", "model").names();
  EXPECT_EQ(names, SafetensorsDirectory(directory_ / "b", "model").names());
  EXPECT_TRUE(std::ranges::none_of(names, is_of_head));
  const std::vector<std::string> kept =
      SafetensorsDirectory(directory_ / "a", "training_state").names();
  EXPECT_EQ(std::ranges::count_if(kept, is_of_head), 6) << "value and two moments of two tensors";
}

// The copy has a value alone.
TEST_F(LocalTrainingTest, SharedHeadsKeepTheirCopyInTheTrainingState) {
  TrainingConfig shared = config("local-greedy", {.num_ranks = 2});
  shared.local_head = LocalHead::Shared;
  losses_of(at("a", shared));
  losses_of(at("b", config("1f1b", {.num_ranks = 2})));
  EXPECT_EQ(SafetensorsDirectory(directory_ / "a", "model").names(),
            SafetensorsDirectory(directory_ / "b", "model").names());
  const std::vector<std::string> kept =
      SafetensorsDirectory(directory_ / "a", "training_state").names();
  EXPECT_EQ(std::ranges::count_if(kept, is_of_head), 3 * 3 + 1);
  EXPECT_EQ(
      std::ranges::count_if(
          kept, [](const std::string& name) { return name.ends_with("local_heads.1.weight"); }),
      1);
}

// The run stops between two refreshes, and its next one is in the resumed run.
TEST_F(LocalTrainingTest, SharedHeadsResumeToTheBitBetweenTwoRefreshes) {
  for (const std::int64_t refresh : {2, 4, 5}) {
    SCOPED_TRACE(refresh);
    const auto with_refresh = [&](TrainingConfig made) {
      made.local_head = LocalHead::Shared;
      made.pipeline.head_refresh = refresh;
      return made;
    };
    const TrainingConfig chunked =
        with_refresh(config("local-chunked", {.num_ranks = 4, .chunks = 2}));
    const TrainingConfig greedy = with_refresh(config("local-greedy", {.num_ranks = 2}));
    const std::vector<double> whole = losses_of(at("whole", chunked));
    TrainingConfig first = chunked;
    first.checkpoint_every = 3;  // no step after it has begun
    ASSERT_EQ(std::ssize(losses_of(at("half", first), 3)), 3);
    EXPECT_EQ(losses_of(resumed("half", greedy)),
              std::vector<double>(whole.begin() + 3, whole.end()));
    EXPECT_TRUE(model_bytes("half") == model_bytes("whole"));
  }
}

TEST_F(LocalTrainingTest, NotesAnotherRefreshOfSharedHeads) {
  TrainingConfig made = config("local-greedy", {.num_ranks = 2});
  made.local_head = LocalHead::Shared;
  losses_of(at("a", made), 2);
  made.pipeline.head_refresh = 7;
  std::string notes;
  made.on_note = [&](const std::string& text) { notes += text; };
  const Training training(resumed("a", made));
  EXPECT_TRUE(contains(notes, "the run was with --head-refresh 10 until step")) << notes;
  EXPECT_TRUE(contains(notes, "and continues with 7")) << notes;
}

// Chunks of two stages on four ranks have their losses where greedy has them on two.
TEST_F(LocalTrainingTest, ResumesToTheBitWhereverTheSameLossesAre) {
  const TrainingConfig chunked = config("local-chunked", {.num_ranks = 4, .chunks = 2});
  const TrainingConfig greedy = config("local-greedy", {.num_ranks = 2});
  const std::vector<double> whole = losses_of(at("whole", chunked));
  const auto num_done = std::ssize(losses_of(at("half", chunked), 1));  // and those it had begun
  ASSERT_LT(num_done, std::ssize(whole));
  const std::vector<double> rest = losses_of(resumed("half", greedy));
  EXPECT_EQ(rest, std::vector<double>(whole.begin() + num_done, whole.end()));
  EXPECT_TRUE(model_bytes("half") == model_bytes("whole"));
}

TEST_F(LocalTrainingTest, WhereTheRanksMeetChangesNoBit) {
  const TrainingConfig never = config("local-greedy", {.num_ranks = 4});
  const std::vector<double> expected = losses_of(at("never", never));
  TrainingConfig validates = never;
  validates.evaluate_every = 100;  // after the last step
  const std::vector<double> of_less_data = losses_of(validates);
  for (const std::int64_t every : {1, 2, 4}) {
    TrainingConfig often = never;
    often.checkpoint_every = every;
    EXPECT_EQ(losses_of(at("saves", often)), expected) << every;
    EXPECT_TRUE(model_bytes("saves") == model_bytes("never")) << every;
    validates.evaluate_every = every;
    EXPECT_EQ(losses_of(validates), of_less_data) << every;
  }
}

TEST_F(LocalTrainingTest, RefusesToResumeWithOtherLossesOrHeads) {
  losses_of(at("a", config("local-greedy", {.num_ranks = 2})), 2);
  const auto refusal = [&](const TrainingConfig& made) {
    return text_of_thrown<ConfigError>([&] { const Training training(resumed("a", made)); });
  };
  EXPECT_TRUE(contains(refusal(config("local-greedy", {.num_ranks = 4})),
                       "the run was with losses inside the model: '1:0,3:2 sum linear', this one "
                       "has '0:0,1:1,2:2,3:3 sum linear'; resume with the same"));
  EXPECT_TRUE(contains(refusal(config("1f1b", {.num_ranks = 2})), "this one has none; resume"));
  TrainingConfig shared = config("local-greedy", {.num_ranks = 2});
  shared.local_head = LocalHead::Shared;
  EXPECT_TRUE(contains(refusal(shared), "this one has '1:0,3:2 sum shared'; resume with the same"));
}

TEST_F(LocalTrainingTest, NamesStagesThatNoLossTrains) {
  std::vector<std::string> notes;
  const auto notes_of = [&](TrainingConfig made) {
    made.on_note = [&](const std::string& text) { notes.push_back(text); };
    notes.clear();
    const Training training(made);
    return notes;
  };
  EXPECT_EQ(notes_of(config("local-last", {.num_ranks = 2})),
            (std::vector<std::string>{"no loss trains stage 0 (blocks 0-1); it keeps its values"}));
  EXPECT_EQ(notes_of(config("local-last", {.num_ranks = 4, .trained = 2})),
            (std::vector<std::string>{
                "no loss trains stage 0 (block 0), stage 1 (block 1); they keep their values"}));
  EXPECT_TRUE(notes_of(config("local-greedy", {.num_ranks = 2})).empty());
  EXPECT_TRUE(notes_of(config("1f1b", {.num_ranks = 2})).empty());
}

TEST_F(LocalTrainingTest, ComparesSimilaritiesAndRefusesToResumeWithoutThem) {
  write_idx_images(directory_ / "images", 8, 4);
  const auto run = [&](LocalLoss loss) {
    TrainingConfig made = config("local-greedy", {.num_ranks = 2});
    made.model = MlpConfig{.num_layers = 4, .num_inputs = 64, .width = 12, .num_classes = 4};
    made.data = directory_ / "images";
    made.micro_batch_size = 8;
    made.local_loss = loss;
    return made;
  };
  std::vector<double> similarities;
  Training training(at("a", run(LocalLoss::PredSim)));
  const std::atomic<bool> stop{false};
  training.run(
      [&](const StepReport& report) { similarities.push_back(report.result->losses.front()); },
      stop);
  EXPECT_LT(similarities.back(), similarities.front());
  const auto kept = SafetensorsDirectory(directory_ / "a", "training_state").names();
  EXPECT_EQ(std::ranges::count_if(kept, is_of_head), 9) << "three tensors and their moments";
  const auto refusal = [&](LocalLoss loss) {
    return text_of_thrown<ConfigError>([&] { const Training again(resumed("a", run(loss))); });
  };
  EXPECT_TRUE(contains(refusal(LocalLoss::Sim),
                       "the run was with losses inside the model: '1:0,3:2 sum linear predsim, "
                       "micro-batches of 8', this one has '1:0,3:2 sum linear sim, micro-batches "
                       "of 8'; resume with the same"));
  TrainingConfig alone = run(LocalLoss::Sim);
  alone.micro_batch_size = 1;
  EXPECT_EQ(text_of_thrown<ConfigError>([&] { check(alone); }),
            "--micro-batch-size is 1; --local-loss sim compares each sample with the others of its "
            "micro-batch; use 2 or more");
  EXPECT_TRUE(contains(refusal(LocalLoss::Pred), "this one has '1:0,3:2 sum linear'; resume"));
}

TEST_F(LocalTrainingTest, StartsFromAModelWithoutHeads) {
  losses_of(at("a", config("1f1b", {.num_ranks = 2})));
  TrainingConfig next = config("local-greedy", {.num_ranks = 2});
  next.initial = directory_ / "a";
  const std::vector<double> losses = losses_of(next);
  EXPECT_LT(losses.front(), losses_of(config("1f1b", {.num_ranks = 2})).front());
}

}  // namespace
}  // namespace halfback::testing
