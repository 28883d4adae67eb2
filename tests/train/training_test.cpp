// Training runs from data to checkpoint: resuming to the bit, stopping, validating, refusing.
#include "halfback/train/training.h"

#include "halfback/base/error.h"
#include "halfback/checkpoint/checkpoint.h"
#include "halfback/checkpoint/safetensors.h"
#include "halfback/checkpoint/safetensors_write.h"
#include "halfback/data/byte_text.h"
#include "halfback/schedule/families.h"
#include "tests/support/errors.h"
#include "tests/support/small_disk.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_training.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

namespace halfback::testing {
namespace {

class TrainingTest : public ::testing::Test {
 protected:
  TrainingTest() { spit(data_, tiny_text()); }

  TrainingConfig config(const std::string& checkpoint, const TinySchedule& schedule = {}) const {
    TrainingConfig made = tiny_training(data_, schedule);
    if (!checkpoint.empty()) {
      made.checkpoint = directory_ / checkpoint;
    }
    return made;
  }

  std::string model_bytes(const std::string& checkpoint) const {
    return slurp(directory_ / checkpoint / "model.safetensors");
  }

  nlohmann::json state(const std::string& checkpoint) const {
    return nlohmann::json::parse(slurp(directory_ / checkpoint / "training_state.json"));
  }

  // The optimizer state by name: its order in the file depends on the stages.
  std::map<std::string, std::string> state_bytes(const std::string& checkpoint) const {
    const SafetensorsDirectory files(directory_ / checkpoint, "training_state");
    std::map<std::string, std::string> bytes;
    for (const std::string& name : files.names()) {
      const at::Tensor tensor = files.get(name);
      bytes[name].assign(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
    }
    return bytes;
  }

  static std::string refusal(const TrainingConfig& config) {
    return text_of_thrown<Error>([&] { const Training training(config); });
  }

  TemporaryDirectory directory_;
  std::filesystem::path data_ = directory_ / "text.txt";
};

const std::vector<TinySchedule> kSchedules = {
    {.name = "1f1b", .num_ranks = 1, .two_stage = false},
    {.name = "gpipe", .num_ranks = 2, .two_stage = true},
    {.name = "1f1b", .num_ranks = 3, .two_stage = false},
    {.name = "1f1b-1", .num_ranks = 4, .two_stage = true}};

std::string describe(const TinySchedule& schedule) {
  return schedule.name + " on " + std::to_string(schedule.num_ranks) +
         (schedule.two_stage ? " split" : " whole");
}

TEST_F(TrainingTest, ResumesToTheBitOnAnyNumberOfStages) {
  const std::vector<double> straight = losses_of(config("straight"));
  ASSERT_EQ(straight.size(), 6U);
  for (const TinySchedule& before : kSchedules) {
    const std::vector<double> first = losses_of(config("half", before), 3);
    ASSERT_EQ(first.size(), 3U);
    ASSERT_EQ(state("half").at("step"), 3);
    for (const TinySchedule& after : kSchedules) {
      std::filesystem::remove_all(directory_ / "whole");
      std::filesystem::copy(directory_ / "half", directory_ / "whole");
      TrainingConfig second = config("whole", after);
      second.resumes_from = find_resume_point(second.checkpoint);
      std::vector<double> losses = first;
      for (const double loss : losses_of(second)) {
        losses.push_back(loss);
      }
      const std::string what = describe(before) + ", then " + describe(after);
      EXPECT_EQ(losses, straight) << what;
      EXPECT_TRUE(model_bytes("whole") == model_bytes("straight")) << what;
      EXPECT_TRUE(state_bytes("whole") == state_bytes("straight")) << what;
      EXPECT_EQ(state("whole"), state("straight")) << what;
    }
  }
}

TEST_F(TrainingTest, ResumesToTheBitWithSgdAndAnExplicitCut) {
  const auto sgd = [&](const std::string& checkpoint, const std::string& cut) {
    TrainingConfig made = config(checkpoint);
    made.cut = cut;
    made.pipeline.stage.optimizer.kind = OptimizerKind::Sgd;
    return made;
  };
  losses_of(sgd("straight", ""));
  losses_of(sgd("halves", "3,1"), 4);
  TrainingConfig second = sgd("halves", "1,3");
  second.resumes_from = find_resume_point(second.checkpoint);
  EXPECT_EQ(losses_of(second).size(), 2U);
  EXPECT_TRUE(model_bytes("halves") == model_bytes("straight"));
  EXPECT_TRUE(state_bytes("halves") == state_bytes("straight"));
}

// The first scale overflows: steps before and after the pause are skipped.
TEST_F(TrainingTest, ResumesToTheBitWithADynamicLossScale) {
  const auto float16 = [&](const std::string& checkpoint, const TinySchedule& schedule) {
    TrainingConfig made = config(checkpoint, schedule);
    made.pipeline.stage.product_dtype = at::kHalf;
    made.pipeline.update.loss_scale = {.initial = 0x1p24, .is_dynamic = true};
    return made;
  };
  losses_of(float16("straight", kSchedules[0]));
  losses_of(float16("halves", kSchedules[1]), 1);
  const nlohmann::json paused = state("halves").at("loss_scale");
  EXPECT_EQ(paused, (nlohmann::json{{"value", 0x1p23}, {"good_steps", 0}, {"skipped_steps", 1}}));
  TrainingConfig second = float16("halves", kSchedules[2]);
  second.resumes_from = find_resume_point(second.checkpoint);
  EXPECT_EQ(losses_of(second).size(), 5U);
  const nlohmann::json last = state("halves").at("loss_scale");
  EXPECT_GT(last.at("skipped_steps"), 1);
  EXPECT_LT(last.at("skipped_steps"), 6);
  EXPECT_EQ(last, state("straight").at("loss_scale"));
  EXPECT_TRUE(model_bytes("halves") == model_bytes("straight"));
  EXPECT_TRUE(state_bytes("halves") == state_bytes("straight"));
}

TEST_F(TrainingTest, ALossScaleThatIsTooLargeAndStaysEndsTheRun) {
  TrainingConfig fixed = config("a");
  fixed.pipeline.stage.product_dtype = at::kHalf;
  fixed.pipeline.update.loss_scale = {.initial = 0x1p24};
  EXPECT_TRUE(contains(text_of_thrown<Error>([&] { losses_of(fixed); }),
                       "--clip, or a --loss-scale below 16777216; there is no checkpoint"));
}

TEST_F(TrainingTest, ResumingInEveryStepEqualsNoPause) {
  losses_of(config("straight"));
  TrainingConfig pieces = config("pieces");
  losses_of(pieces, 1);
  pieces.resumes_from = find_resume_point(pieces.checkpoint);
  for (std::int64_t step = 2; step <= 6; ++step) {
    EXPECT_EQ(losses_of(pieces, step).size(), 1U);
  }
  EXPECT_TRUE(model_bytes("pieces") == model_bytes("straight"));
  EXPECT_TRUE(losses_of(pieces).empty());
}

TEST_F(TrainingTest, AMiniBatchMayBeCutAnotherWayWhenResuming) {
  losses_of(config("a"), 2);
  EXPECT_EQ(state("a").at("position"), 2 * 8);
  TrainingConfig second = config("a");
  second.resumes_from = find_resume_point(second.checkpoint);
  second.micro_batch_size = 3;
  EXPECT_TRUE(contains(refusal(second),
                       "a: the run was with a mini-batch (--micro-batch-size times micro-batches) "
                       "of 8, this one has 12; resume with the same"))
      << refusal(second);
  second.schedule =
      make_runnable(build_schedule("gpipe", {.num_ranks = 2, .num_micro_batches = 8}));
  second.micro_batch_size = 1;
  losses_of(second);
  EXPECT_EQ(state("a").at("position"), 6 * 8);
}

TEST_F(TrainingTest, OptionsThatChangeWhenResumingAreNoted) {
  losses_of(config("a"), 2);
  TrainingConfig second = config("a");
  second.resumes_from = find_resume_point(second.checkpoint);
  std::vector<std::string> notes;
  second.on_note = [&](const std::string& note) { notes.push_back(note); };
  const Training unchanged(second);
  EXPECT_TRUE(notes.empty());
  second.learning_rate.warmup_steps = 1;
  second.pipeline.update.clip_norm = 0.5;
  second.pipeline.stage.product_dtype = at::kBFloat16;
  const Training changed(second);
  const std::string where = second.checkpoint.string() + ": the run was with ";
  EXPECT_EQ(notes, (std::vector<std::string>{
                       where + "--clip 1 until step 2, and continues with 0.5",
                       where + "--precision float32 until step 2, and continues with bfloat16",
                       where + "--warmup 2 until step 2, and continues with 1"}));
}

TEST_F(TrainingTest, LowersTheLossAndReportsEveryStep) {
  TrainingConfig longer = config("");
  longer.num_steps = 60;
  Training training(longer);
  std::vector<double> losses;
  training.run(
      [&](const StepReport& report) {
        EXPECT_EQ(report.step, static_cast<std::int64_t>(losses.size()) + 1);
        EXPECT_EQ(report.learning_rate, longer.learning_rate.at(report.step, longer.num_steps));
        EXPECT_EQ(report.num_items, 4 * 2 * 8);
        losses.push_back(report.result->loss);
      },
      std::atomic<bool>{false});
  ASSERT_EQ(losses.size(), 60U);
  EXPECT_NEAR(losses.front(), std::log(256.0), 0.2);
  EXPECT_LT(losses.back(), 0.75 * losses.front());
}

TEST_F(TrainingTest, AStopEndsTheRunAfterTheStepUnderWayWithACheckpoint) {
  TrainingConfig stopped = config("stopped");
  Training training(stopped);
  std::atomic<bool> stop{false};
  const TrainingOutcome outcome =
      training.run([&](const StepReport& report) { stop = report.step == 2; }, stop);
  EXPECT_TRUE(outcome.was_stopped);
  EXPECT_EQ(outcome.last_step, 2);
  EXPECT_EQ(state("stopped").at("step"), 2);
}

TEST_F(TrainingTest, AStopBeforeTheFirstStepLeavesACheckpointToo) {
  TrainingConfig stopped = config("stopped");
  Training training(stopped);
  const TrainingOutcome outcome =
      training.run([](const StepReport&) { FAIL(); }, std::atomic<bool>{true});
  EXPECT_TRUE(outcome.was_stopped);
  EXPECT_EQ(outcome.last_step, 0);
  EXPECT_EQ(state("stopped").at("step"), 0);
  losses_of(config("straight"));
  stopped.resumes_from = find_resume_point(stopped.checkpoint);
  losses_of(stopped);
  EXPECT_TRUE(model_bytes("stopped") == model_bytes("straight"));
}

TEST_F(TrainingTest, WritesCheckpointsOnTheWayAndKeepsSome) {
  TrainingConfig often = config("often");
  often.checkpoint_every = 1;
  often.keep = 3;
  losses_of(often);
  EXPECT_EQ(state("often").at("step"), 6);
  EXPECT_EQ(state("often.step-5").at("step"), 5);
  EXPECT_EQ(state("often.step-4").at("step"), 4);
  EXPECT_EQ(num_entries(directory_.path()), 4) << "something lies beside the checkpoints";
  losses_of(config("straight"), 5);
  EXPECT_TRUE(model_bytes("often.step-5") == model_bytes("straight"));
  EXPECT_TRUE(state_bytes("often.step-5") == state_bytes("straight"));
}

TEST_F(TrainingTest, ATornCheckpointIsLeftForTheOneBeforeIt) {
  losses_of(config("straight"));
  TrainingConfig torn = config("torn");
  torn.checkpoint_every = 2;
  torn.keep = 2;
  losses_of(torn, 4);
  std::filesystem::remove(directory_ / "torn" / "model.safetensors");
  torn.resumes_from = find_resume_point(torn.checkpoint);
  EXPECT_EQ(Training(torn).first_step(), 2);
  EXPECT_TRUE(contains(torn.resumes_from->note, "torn/model.safetensors: cannot open"));
  Training(torn).run([](const StepReport&) { FAIL(); }, std::atomic<bool>{true});
  require_complete(torn.checkpoint);
  EXPECT_EQ(state("torn").at("step"), 2);
  EXPECT_EQ(losses_of(torn, 4).size(), 2U);
  EXPECT_EQ(state("torn").at("step"), 4);
  EXPECT_EQ(state("torn.step-2").at("step"), 2);
  EXPECT_EQ(num_entries(directory_.path()), 4) << "the torn one is kept";
  torn.resumes_from = find_resume_point(torn.checkpoint);
  EXPECT_EQ(torn.resumes_from->note, "");
  losses_of(torn);
  EXPECT_TRUE(model_bytes("torn") == model_bytes("straight"));
}

TEST_F(TrainingTest, AFullDiskEndsTheRunAndTheCheckpointBeforeStays) {
  const SmallDisk disk;
  TrainingConfig full = config("");
  auto& model = std::get<LlamaConfig>(full.model);
  model.num_layers = 2;
  model.width = 8;
  model.hidden = 8;
  model.has_tied_head = true;
  full.pipeline.stage.optimizer.kind = OptimizerKind::Sgd;
  full.checkpoint = disk.path() / "checkpoint";
  full.checkpoint_every = 1;
  full.num_steps = 1000;
  Training training(full);
  std::int64_t last = 0;
  const std::string text = text_of_thrown<FileError>([&] {
    training.run([&](const StepReport& report) { last = report.step; }, std::atomic<bool>{false});
  });
  EXPECT_TRUE(contains(text, "No space left on device; make room there")) << text;
  EXPECT_GE(last, 2);
  EXPECT_LT(last, 1000);
  EXPECT_EQ(num_entries(disk.path()), 1);
  full.resumes_from = find_resume_point(full.checkpoint);
  EXPECT_TRUE(contains(refusal(full), "are free there; a checkpoint takes ")) << refusal(full);
  full.checkpoint.clear();
  EXPECT_EQ(Training(full).first_step(), 1);
}

TEST_F(TrainingTest, InitialTakesTheParametersAndStartsAnew) {
  losses_of(config("first"), 3);
  TrainingConfig second = config("second");
  second.initial = directory_ / "first";
  second.pipeline.stage.seed = 77;
  const Training training(second);
  EXPECT_EQ(training.first_step(), 0);
  std::atomic<bool> stop{true};
  Training(second).run([](const StepReport&) {}, stop);
  EXPECT_TRUE(model_bytes("second") == model_bytes("first"));
  EXPECT_EQ(losses_of(second).size(), 6U);
  EXPECT_EQ(state("second").at("seed"), 77);
}

TEST_F(TrainingTest, ValidatesOnTheTextsEndAfterEveryNthAndTheLastStep) {
  TrainingConfig validated = config("");
  validated.evaluate_every = 4;
  validated.evaluate_samples = 15;
  Training training(validated);
  const ByteText text({.path = data_, .sequence_length = 8, .validation_fraction = 0.1, .seed = 5});
  std::vector<std::int64_t> steps;
  training.run(
      [&](const StepReport& report) {
        if (!report.validation) {
          return;
        }
        steps.push_back(report.step);
        std::vector<MicroBatch> batches;
        for (int i = 0; i < 8; ++i) {
          const MicroBatch batch = text.validation_batch(2 * i, i < 7 ? 2 : 1);
          batches.push_back(batch);
        }
        EXPECT_EQ(*report.validation, training.pipeline().evaluate(batches));
      },
      std::atomic<bool>{false});
  EXPECT_EQ(steps, (std::vector<std::int64_t>{4, 6}));
}

TEST_F(TrainingTest, ValidatingDoesNotChangeTheTraining) {
  TrainingConfig without = config("without");
  without.validation_fraction = 0.0;
  spit(directory_ / "front.txt", slurp(data_).substr(0, 2700));
  without.data = directory_ / "front.txt";
  losses_of(without);
  TrainingConfig with = config("with");
  with.evaluate_every = 1;
  losses_of(with);
  EXPECT_TRUE(model_bytes("with") == model_bytes("without"));
}

TEST_F(TrainingTest, TheValidationLossDoesNotDependOnTheStages) {
  std::vector<double> losses;
  for (const TinySchedule& schedule : kSchedules) {
    TrainingConfig validated = config("", schedule);
    validated.evaluate_every = 6;
    validated.evaluate_samples = 20;
    Training training(validated);
    training.run(
        [&](const StepReport& report) {
          if (report.validation) {
            losses.push_back(report.validation->loss);
          }
        },
        std::atomic<bool>{false});
  }
  EXPECT_EQ(losses, std::vector<double>(kSchedules.size(), losses.at(0)));
}

TEST_F(TrainingTest, AShortValidationPartIsEnough) {
  spit(data_, tiny_text(300));
  TrainingConfig validated = config("");
  validated.validation_fraction = 0.1;  // 30 bytes: three windows
  validated.micro_batch_size = 5;
  validated.evaluate_every = 6;
  EXPECT_EQ(losses_of(validated).size(), 6U);
}

TEST_F(TrainingTest, WithoutValidationTextThereIsNoValidation) {
  TrainingConfig none = config("");
  none.validation_fraction = 0.0;
  none.evaluate_every = 2;
  Training training(none);
  training.run([](const StepReport& report) { EXPECT_FALSE(report.validation); },
               std::atomic<bool>{false});
}

TEST_F(TrainingTest, RefusesToResumeWithAnotherSeedTextOrModel) {
  losses_of(config("a"), 1);
  TrainingConfig other = config("a");
  other.resumes_from = find_resume_point(other.checkpoint);
  other.pipeline.stage.seed = 6;
  EXPECT_TRUE(contains(refusal(other), "a: the run was with --seed 5, this one has 6; resume"));
  other.pipeline.stage.seed = 5;
  other.pipeline.gradient_groups = 2;
  EXPECT_TRUE(contains(refusal(other), "the run was with --gradient-groups 1, this one has 2"));
  other.pipeline.gradient_groups = 1;
  spit(data_, tiny_text() + "x");
  EXPECT_TRUE(
      contains(refusal(other),
               "the run was with 3000 bytes of --data, this one has 3001 bytes of --data; "));
  std::string turned = tiny_text();
  std::reverse(turned.begin(), turned.end());
  spit(data_, turned);
  EXPECT_TRUE(contains(refusal(other), "the run was with --data of the checksum "));
  spit(data_, tiny_text());
  other.evaluate_every = 1;
  EXPECT_TRUE(contains(refusal(other), " bytes of --data for training and the rest for "));
  other.evaluate_every = config("a").evaluate_every;
  auto state = nlohmann::json::parse(slurp(directory_ / "a" / "training_state.json"));
  EXPECT_EQ(state["tokenizer_crc32"], 0) << "of bytes";
  state["tokenizer_crc32"] = 5;
  spit(directory_ / "a" / "training_state.json", state.dump());
  std::filesystem::remove(directory_ / "a" / "checkpoint.json");  // which has checksums of files
  EXPECT_TRUE(contains(refusal(other),
                       "the run was with a tokenizer of the checksum 00000005, this one has a "
                       "tokenizer of the checksum 00000000; its sequences would differ"));
  std::get<LlamaConfig>(other.model).hidden = 32;
  EXPECT_TRUE(contains(refusal(other),
                       "a: checkpoint of another model: hidden is 24 there and 32 in this run; use "
                       "--hidden 24 or another --checkpoint"));
}

TEST_F(TrainingTest, RefusesAnInitialCheckpointOfAnotherModel) {
  losses_of(config("a"), 1);
  TrainingConfig other = config("");
  other.initial = directory_ / "a";
  std::get<LlamaConfig>(other.model).num_key_value_heads = 4;
  EXPECT_TRUE(contains(refusal(other), "kv-heads is 2 there and 4 in this run"));
  other.initial = directory_ / "nowhere";
  EXPECT_TRUE(contains(refusal(other), "nowhere/config.json: cannot open"));
}

TEST_F(TrainingTest, RefusesValuesThatAreNotFinite) {
  losses_of(config("a"), 1);
  std::filesystem::remove(directory_ / "a" / "checkpoint.json");
  std::filesystem::remove(directory_ / "a" / "training_state.json");
  const std::filesystem::path file = directory_ / "a" / "model.safetensors";
  std::vector<NamedTensor> tensors;
  for (const std::string& name : SafetensorsFile(file).names()) {
    tensors.push_back({name, SafetensorsFile(file).get(name).clone()});
  }
  tensors.back().tensor.view(-1)[0] = INFINITY;
  save_safetensors(file, tensors);
  TrainingConfig second = config("");
  second.initial = directory_ / "a";
  EXPECT_TRUE(contains(refusal(second), "a: tensor \"" + tensors.back().name + "\" holds NaN or "))
      << refusal(second);
}

TEST_F(TrainingTest, RefusesAnInitialCheckpointThatIsAltered) {
  losses_of(config("a"), 1);
  std::filesystem::resize_file(directory_ / "a" / "model.safetensors", 100);
  TrainingConfig other = config("");
  other.initial = directory_ / "a";
  EXPECT_TRUE(contains(refusal(other), "model.safetensors: 100 bytes; expected "));
}

TEST_F(TrainingTest, RefusesACheckpointDirectoryBeforeTheFirstStep) {
  std::filesystem::create_directory(directory_ / "home");
  spit(directory_ / "home" / "thesis.tex", "dear to somebody");
  EXPECT_TRUE(contains(refusal(config("home")), "home: holds files but no checkpoint.json"));
  EXPECT_TRUE(contains(refusal(config("text.txt")), "text.txt: is a file; expected a directory"));
  EXPECT_TRUE(contains(refusal(config("text.txt/a")), "Not a directory"));
  EXPECT_EQ(num_entries(directory_.path()), 2);
}

TEST_F(TrainingTest, RefusesAVocabularyThatIsTooSmallForBytes) {
  TrainingConfig small = config("");
  std::get<LlamaConfig>(small.model).vocabulary = 255;
  EXPECT_EQ(refusal(small), "model: vocabulary 255 is too small for bytes; use --vocabulary 256");
}

TEST_F(TrainingTest, ALossThatDivergesEndsTheRunAndNamesTheStep) {
  TrainingConfig wild = config("wild");
  wild.learning_rate = {.peak = 1e30, .floor_fraction = 1.0, .warmup_steps = 0};
  const std::string text = text_of_thrown<Error>([&] { losses_of(wild); });
  EXPECT_EQ(text.find("training: step 2: loss "), 0U) << text;
  EXPECT_TRUE(contains(text, "the run has diverged; use a smaller --learning-rate")) << text;
  EXPECT_TRUE(contains(text, "there is no checkpoint of this run")) << text;
  EXPECT_FALSE(std::filesystem::exists(directory_ / "wild"));
  wild.checkpoint_every = 1;
  EXPECT_TRUE(contains(text_of_thrown<Error>([&] { losses_of(wild); }),
                       "the last checkpoint is of step 1"));
}

}  // namespace
}  // namespace halfback::testing
