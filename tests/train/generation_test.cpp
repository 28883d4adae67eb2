// Text out of a checkpoint, and the draw of one token.
#include "halfback/train/generation.h"

#include "halfback/base/error.h"
#include "halfback/checkpoint/checkpoint.h"
#include "halfback/checkpoint/checkpoint_save.h"
#include "halfback/models/llama_decoder.h"
#include "halfback/models/mlp.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_training.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

namespace halfback::testing {
namespace {

class GenerationTest : public ::testing::Test {
 protected:
  // A byte-level model that has trained for a few steps.
  GenerationTest() {
    spit(directory_ / "text.txt", tiny_text());
    TrainingConfig config = tiny_training(directory_ / "text.txt");
    config.checkpoint = checkpoint_;
    losses_of(config);
  }

  GenerationOptions options() const {
    return {.checkpoint = checkpoint_, .prompt = "the ", .num_tokens = 30};
  }

  static std::string text_of(const GenerationOptions& options) {
    std::string text;
    generate(options, [&](std::string_view part) {
      text += part;
      return true;
    });
    return text;
  }

  static std::string refusal(const GenerationOptions& options) {
    return text_of_thrown<ConfigError>([&] { text_of(options); });
  }

  TemporaryDirectory directory_;
  std::filesystem::path checkpoint_ = directory_ / "checkpoint";
};

TEST_F(GenerationTest, EqualSeedsGiveEqualText) {
  GenerationOptions first = options();
  EXPECT_EQ(text_of(first).size(), 30U);
  EXPECT_EQ(text_of(first), text_of(first));
  GenerationOptions second = first;
  second.seed = 2;
  EXPECT_NE(text_of(first), text_of(second));
  second.seed = 1;
  second.num_tokens = 10;
  EXPECT_EQ(text_of(second), text_of(first).substr(0, 10));
}

TEST_F(GenerationTest, TemperatureZeroTakesTheLikeliestByteWhateverTheSeed) {
  GenerationOptions greedy = options();
  greedy.temperature = 0.0;
  const std::string text = text_of(greedy);
  greedy.seed = 99;
  EXPECT_EQ(text_of(greedy), text);

  const auto config = std::get<LlamaConfig>(load_config(checkpoint_));
  LlamaConfig longer = config;
  longer.sequence = 64;
  longer.positions = 64;
  Stage stage(std::move(build_llama(longer, {4}).front()), {});
  load_parameters(checkpoint_, {&stage});
  LlamaDecoder decoder(stage.layers());
  std::string read = greedy.prompt;
  std::string expected;
  while (expected.size() < text.size()) {
    at::Tensor tokens = at::empty({1, static_cast<std::int64_t>(read.size())}, at::kLong);
    std::copy(read.begin(), read.end(), tokens.mutable_data_ptr<std::int64_t>());
    read = static_cast<char>(decoder.extend(tokens).argmax(1).item<std::int64_t>());
    expected += read;
  }
  EXPECT_EQ(text, expected);
}

TEST_F(GenerationTest, OneLikeliestByteIsGreedyAtAnyTemperature) {
  GenerationOptions greedy = options();
  greedy.temperature = 0.0;
  GenerationOptions one = options();
  one.top_k = 1;
  one.temperature = 5.0;
  EXPECT_EQ(text_of(one), text_of(greedy));
}

TEST_F(GenerationTest, TextMayBeLongerThanTheSequencesOfTraining) {
  GenerationOptions longer = options();
  longer.prompt = std::string(50, 'a') + "\xff\x80";
  longer.num_tokens = 20;
  EXPECT_EQ(text_of(longer).size(), 20U);
}

TEST_F(GenerationTest, EndsWhenTheReaderHasEnough) {
  std::string text;
  generate(options(), [&](std::string_view part) {
    text += part;
    return text.size() < 3;
  });
  EXPECT_EQ(text, text_of(options()).substr(0, 3));
  GenerationOptions none = options();
  none.num_tokens = 0;
  EXPECT_EQ(text_of(none), "");
}

TEST_F(GenerationTest, NamesTheKeysOfOthersThatAreNotApplied) {
  spit(checkpoint_ / "generation_config.json",
       R"({"repetition_penalty": 1.5, "num_beams": 1, "min_length": 0, "top_k": 3,
           "forced_eos_token_id": 2, "suppress_tokens": [], "no_repeat_ngram_size": null})");
  std::string notes;
  std::string prompt;
  GenerationOptions told = options();
  told.on_note = [&](const std::string& note) { notes += note + "\n"; };
  told.on_prompt = [&](std::string_view text) { prompt += text; };
  EXPECT_EQ(text_of(told).size(), 30U);
  const std::string file = (checkpoint_ / "generation_config.json").string();
  EXPECT_EQ(notes, file + ": repetition_penalty \"1.5\" is not applied\n" + file +
                       ": forced_eos_token_id \"2\" is not applied\n");
  EXPECT_EQ(prompt, "the ");
}

TEST_F(GenerationTest, TheEndIsThatOfTheFirstFileAlsoWhereItHasNone) {
  const std::filesystem::path published = directory_ / "published";
  std::filesystem::create_directory(published);
  std::filesystem::copy(checkpoint_ / "model.safetensors", published);
  GenerationOptions greedy = options();
  greedy.temperature = 0.0;
  const std::string text = text_of(greedy);
  auto config = nlohmann::json::parse(slurp(checkpoint_ / "config.json"));
  config["eos_token_id"] = static_cast<unsigned char>(text[0]);
  spit(published / "config.json", config.dump());
  greedy.checkpoint = published;
  EXPECT_EQ(text_of(greedy), "");
  spit(published / "generation_config.json", R"({"eos_token_id": null})");
  EXPECT_EQ(text_of(greedy), text);
}

TEST_F(GenerationTest, RefusesOptionsOutOfRange) {
  GenerationOptions wrong = options();
  wrong.num_tokens = -1;
  EXPECT_EQ(refusal(wrong), "generate: --tokens is -1; expected a number from 0 to 1000000");
  wrong = options();
  for (const double temperature : {-0.5, std::numeric_limits<double>::infinity(), std::nan("")}) {
    wrong.temperature = temperature;
    EXPECT_TRUE(contains(refusal(wrong), "generate: --temperature is ")) << refusal(wrong);
  }
  wrong = options();
  wrong.top_k = -2;
  EXPECT_EQ(refusal(wrong), "generate: --top-k is -2; expected 0 or more");
  wrong = options();
  wrong.prompt = "";
  EXPECT_TRUE(contains(refusal(wrong), "generate: the prompt is empty"));
}

TEST_F(GenerationTest, RefusesACheckpointThatIsNoneOrHasOtherTokens) {
  GenerationOptions wrong = options();
  wrong.checkpoint = directory_ / "nowhere";
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { text_of(wrong); }),
                       "nowhere/config.json: cannot open"));
  LlamaConfig config = tiny_llama();
  config.vocabulary = 300;
  Stage stage(std::move(build_llama(config, {4}).front()), {});
  wrong.checkpoint = directory_ / "words";
  save_checkpoint(wrong.checkpoint, config, {&stage}, {.optimizer = "adamw"});
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { text_of(wrong); }),
                       "words: vocabulary 300; expected 256, a byte-level model"));
  const MlpConfig images{.num_layers = 1, .num_inputs = 4, .width = 3, .num_classes = 2};
  Stage image_stage(std::move(build_mlp(images, {1}).front()), {});
  wrong.checkpoint = directory_ / "images";
  save_checkpoint(wrong.checkpoint, images, {&image_stage}, {.optimizer = "adamw"});
  EXPECT_TRUE(
      contains(text_of_thrown<FileError>([&] { text_of(wrong); }),
               "images: a mlp; text can be generated with llama only; use such a checkpoint"));
}

at::Tensor logits_of(const std::vector<float>& values) {
  at::Tensor logits = at::empty({static_cast<std::int64_t>(values.size())}, at::kFloat);
  std::copy(values.begin(), values.end(), logits.mutable_data_ptr<float>());
  return logits;
}

// How often each index comes when `uniform` runs evenly through [0, 1).
std::vector<int> counts(const at::Tensor& logits, SamplingOptions options, int num_draws) {
  std::vector<int> count(static_cast<std::size_t>(logits.numel()));
  for (int i = 0; i < num_draws; ++i) {
    options.uniform = (i + 0.5) / num_draws;
    ++count[static_cast<std::size_t>(sample(logits, options))];
  }
  return count;
}

TEST(SampleTest, DrawsEveryIndexAsOftenAsItsProbability) {
  const auto count =
      counts(logits_of({std::log(0.1F), std::log(0.4F), std::log(0.3F), std::log(0.2F)}), {}, 1000);
  const std::array<int, 4> expected = {100, 400, 300, 200};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(count[i], expected[i], 1);
  }
}

TEST(SampleTest, EqualLogitsAreDrawnEquallyOften) {
  for (const int count : counts(at::full({8}, 3.5), {}, 800)) {
    EXPECT_NEAR(count, 100, 1);
  }
}

TEST(SampleTest, TemperatureFlattensAndSharpens) {
  const at::Tensor logits = logits_of({std::log(0.2F), std::log(0.8F)});
  // Powers of the probabilities: 0.2^(1/2) to 0.8^(1/2) is 1 to 2; squares are 1 to 16.
  EXPECT_NEAR(counts(logits, {.temperature = 2.0}, 3000)[0], 1000, 1);
  EXPECT_NEAR(counts(logits, {.temperature = 0.5}, 1700)[0], 100, 1);
  EXPECT_EQ(counts(logits, {.temperature = 0.0}, 50)[1], 50);
}

TEST(SampleTest, TopKLeavesTheRestOut) {
  const at::Tensor logits =
      logits_of({std::log(0.1F), std::log(0.4F), std::log(0.3F), std::log(0.2F)});
  const auto count = counts(logits, {.top_k = 2}, 700);
  EXPECT_EQ(count[0], 0);
  EXPECT_NEAR(count[1], 400, 1);
  EXPECT_NEAR(count[2], 300, 1);
  EXPECT_EQ(count[3], 0);
  EXPECT_EQ(counts(logits, {.top_k = 10}, 700), counts(logits, {}, 700));
}

TEST(SampleTest, OfEqualLogitsTheFirstIdsStay) {
  const auto count = counts(at::full({6}, 0.0), {.top_k = 2}, 100);
  EXPECT_EQ(count, (std::vector<int>{50, 50, 0, 0, 0, 0}));
  EXPECT_EQ(sample(at::full({6}, 0.0), {.temperature = 0.0}), 0);
}

TEST(SampleTest, HugeLogitsAndTheEndsOfTheIntervalAreFine) {
  const at::Tensor logits = logits_of({-3e38F, 3e38F, 1e38F});
  EXPECT_EQ(sample(logits, {.uniform = 0.0}), 1);
  EXPECT_EQ(sample(logits, {.uniform = std::nextafter(1.0, 0.0)}), 1);
  const at::Tensor even = at::full({3}, 1.0);
  EXPECT_EQ(sample(even, {.uniform = 0.0}), 0);
  EXPECT_EQ(sample(even, {.uniform = std::nextafter(1.0, 0.0)}), 2);
}

}  // namespace
}  // namespace halfback::testing
