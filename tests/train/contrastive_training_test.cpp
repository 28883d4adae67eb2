// Runs that train without labels: every loss asks which view shows the same image, and the model's
// own head stays as it is.
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

constexpr std::int64_t kMicroBatchSize = 8;
constexpr double kChance = 1.0 / (2 * kMicroBatchSize - 1);  // of the nearest view

class ContrastiveTrainingTest : public ::testing::Test {
 protected:
  ContrastiveTrainingTest() { write_idx_images(directory_ / "images", 8, 8); }

  TrainingConfig config(const std::string& name, const PipelineShape& shape) const {
    TrainingConfig made = tiny_training(directory_ / "images");
    PipelineShape whole = shape;
    whole.num_micro_batches = 4;
    made.schedule = make_runnable(build_schedule(name, whole));
    made.pipeline.update = {.clip_norm = 0.0};
    made.model = MlpConfig{.num_layers = 4, .num_inputs = 64, .width = 32, .num_classes = 8};
    made.micro_batch_size = kMicroBatchSize;
    made.local_loss = LocalLoss::InfoNce;
    made.projection = 16;
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

  at::Tensor value(const std::string& checkpoint, const std::string& name) const {
    return SafetensorsDirectory(directory_ / checkpoint).get(name);
  }

  std::string model_bytes(const std::string& checkpoint) const {
    return slurp(directory_ / checkpoint / "model.safetensors");
  }

  TemporaryDirectory directory_;
};

// Returns the last validation.
Evaluation evaluation_of(const TrainingConfig& config) {
  Training training(config);
  const std::atomic<bool> stop{false};
  std::optional<Evaluation> last;
  training.run(
      [&](const StepReport& report) { last = report.validation ? report.validation : last; }, stop);
  return last.value();
}

// Of views of images that no step has seen: each loss falls, and more views find their partner.
TEST_F(ContrastiveTrainingTest, ViewsFindTheirPartnersAtEveryLoss) {
  for (const ModelConfig& model :
       {ModelConfig(MlpConfig{.num_layers = 4, .num_inputs = 64, .width = 32, .num_classes = 8}),
        ModelConfig(ResnetConfig{
            .depth = 18, .width = 4, .num_classes = 8, .image_height = 8, .image_width = 8})}) {
    TrainingConfig run = config("local-greedy", {.num_ranks = 2});
    run.model = model;
    run.augmentation = Augmentation{.crops = false, .flips = true, .jitters = true};
    run.num_steps = 40;
    run.evaluate_every = 40;
    run.evaluate_samples = 24;
    TrainingConfig untrained = run;
    untrained.num_steps = 1;
    untrained.learning_rate.peak = 0.0;
    const Evaluation before = evaluation_of(untrained);
    const Evaluation after = evaluation_of(run);
    ASSERT_EQ(after.losses.size(), 2U);
    for (std::size_t loss = 0; loss < 2; ++loss) {
      EXPECT_LT(after.losses[loss], before.losses[loss]) << model_name(model) << " " << loss;
      EXPECT_GT(after.accuracies[loss], before.accuracies[loss])
          << model_name(model) << " " << loss;
      EXPECT_GT(after.accuracies[loss], 10 * kChance) << model_name(model) << " " << loss;
    }
  }
}

TEST_F(ContrastiveTrainingTest, HasTheSameBitsOnAnyNumberOfStages) {
  const auto losses = losses_of(at("1", config("1f1b", {.num_ranks = 1})));
  EXPECT_LT(losses.back(), losses.front());
  for (const int num_ranks : {2, 4}) {
    const std::string name = std::to_string(num_ranks);
    EXPECT_EQ(losses_of(at(name, config("1f1b", {.num_ranks = num_ranks}))), losses);
    EXPECT_TRUE(model_bytes(name) == model_bytes("1")) << name;
  }
  EXPECT_EQ(losses_of(at("g", config("local-greedy", {.num_ranks = 2}))),
            losses_of(at("c", config("local-chunked", {.num_ranks = 4, .chunks = 2}))));
  EXPECT_TRUE(model_bytes("g") == model_bytes("c"));
}

TEST_F(ContrastiveTrainingTest, TheModelsOwnHeadStaysAsItIsAndTheOthersStayOutOfTheModel) {
  TrainingConfig one_step = config("local-greedy", {.num_ranks = 2});
  one_step.num_steps = 1;
  losses_of(at("short", one_step));
  losses_of(at("long", config("local-greedy", {.num_ranks = 2})));
  TrainingConfig supervised = config("local-greedy", {.num_ranks = 2});
  supervised.local_loss = LocalLoss::Pred;
  supervised.projection.reset();
  supervised.learning_rate.peak = 0.0;
  losses_of(at("initial", supervised));
  EXPECT_EQ(SafetensorsDirectory(directory_ / "long").names(),
            SafetensorsDirectory(directory_ / "initial").names());
  for (const char* name : {"head.weight", "head.bias"}) {
    EXPECT_TRUE(value("long", name).equal(value("short", name))) << name;
    EXPECT_TRUE(value("long", name).equal(value("initial", name))) << name;
  }
  EXPECT_FALSE(value("long", "layers.3.weight").equal(value("short", "layers.3.weight")));
  const auto kept = SafetensorsDirectory(directory_ / "long", "training_state").names();
  EXPECT_EQ(
      std::ranges::count_if(
          kept, [](const std::string& name) { return name.find("local_heads.") != name.npos; }),
      18)
      << "two heads of three tensors, and their moments";
}

TEST_F(ContrastiveTrainingTest, ResumesToTheBitAndWithTheSameLossOnly) {
  const TrainingConfig run = config("1f1b", {.num_ranks = 2});
  const std::vector<double> whole = losses_of(at("whole", run));
  losses_of(at("half", run), 3);
  TrainingConfig other = run;
  other.projection = 8;
  const auto refusal = [&](const TrainingConfig& made) {
    return text_of_thrown<ConfigError>([&] { const Training again(resumed("half", made)); });
  };
  EXPECT_TRUE(contains(refusal(other),
                       "the run was with losses inside the model: '3:0 sum infonce 16, "
                       "micro-batches of 8', this one has '3:0 sum infonce 8, micro-batches of 8'; "
                       "resume with the same"));
  TrainingConfig smaller = run;
  smaller.micro_batch_size = 4;
  EXPECT_TRUE(contains(refusal(smaller), "this one has '3:0 sum infonce 16, micro-batches of 4'"));
  other.local_loss = LocalLoss::Pred;
  other.projection.reset();
  EXPECT_TRUE(contains(refusal(other), "this one has none; resume"));
  std::vector<std::string> notes;
  other = run;
  other.temperature = 0.1;
  other.augmentation = Augmentation{.crops = true};
  other.on_note = [&](const std::string& text) { notes.push_back(text); };
  { const Training again(resumed("half", other)); }
  ASSERT_EQ(notes.size(), 2U);
  EXPECT_TRUE(contains(notes[0],
                       "the run was with --augment crop,flip,jitter until step 3, and "
                       "continues with crop"));
  EXPECT_TRUE(contains(notes[1],
                       "the run was with --temperature 0.5 until step 3, and continues "
                       "with 0.1"));
  EXPECT_EQ(losses_of(resumed("half", run)), std::vector<double>(whole.begin() + 3, whole.end()));
  EXPECT_TRUE(model_bytes("half") == model_bytes("whole"));
}

// A micro-batch with fewer images would have fewer negatives.
TEST_F(ContrastiveTrainingTest, ValidatesOnWholeMicroBatches) {
  TrainingConfig run = config("1f1b", {.num_ranks = 2});
  run.num_steps = 1;
  run.evaluate_every = 1;
  const auto loss = [&](std::int64_t samples) {
    run.evaluate_samples = samples;
    return evaluation_of(run).loss;
  };
  EXPECT_EQ(loss(17), loss(16));
  EXPECT_NE(loss(24), loss(16));
  EXPECT_LT(loss(2), loss(8)) << "one micro-batch of two images";
}

TEST_F(ContrastiveTrainingTest, RefusesWhatItCannotCompare) {
  const auto refusal = [&](auto set) {
    TrainingConfig made = config("1f1b", {.num_ranks = 2});
    set(made);
    return text_of_thrown<ConfigError>([&] { const Training training(made); });
  };
  EXPECT_TRUE(contains(refusal([](auto& c) { c.projection = 0; }), "--projection is 0; expected"));
  EXPECT_TRUE(contains(refusal([](auto& c) { c.temperature = 0.0; }), "--temperature is 0; expec"));
  EXPECT_TRUE(contains(refusal([](auto& c) { c.micro_batch_size = 1; }),
                       "--local-loss infonce compares each image with the others of its "
                       "micro-batch; use 2 or more"));
  EXPECT_TRUE(contains(refusal([](auto& c) { c.augmentation = Augmentation{}; }),
                       "--augment none: both views of an image would be the same"));
  EXPECT_TRUE(contains(refusal([](auto& c) { c.local_head = LocalHead::Mlp1; }),
                       "--local-head mlp-1: --local-loss infonce has a head of its own"));
  EXPECT_EQ(refusal([](auto& c) { c.local_loss = LocalLoss::Sim; }),
            "--projection is for --local-loss infonce; leave it out, or use that loss");
  EXPECT_EQ(refusal([](auto& c) {
              c.local_loss = LocalLoss::Pred;
              c.projection.reset();
              c.temperature = 0.1;
            }),
            "--temperature is for --local-loss infonce; leave it out, or use that loss");
  spit(directory_ / "text.txt", tiny_text());
  TrainingConfig text = tiny_training(directory_ / "text.txt");
  text.augmentation = Augmentation{.flips = true};
  EXPECT_EQ(text_of_thrown<ConfigError>([&] { const Training training(text); }),
            "--augment flip changes images, and llama reads text; leave it out");
}

}  // namespace
}  // namespace halfback::testing
