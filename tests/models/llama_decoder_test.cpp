// Reading token by token gives what the whole text at once gives. In double: products of other
// shapes round in another way on each processor.
#include "halfback/models/llama_decoder.h"

#include "halfback/base/keyed_random.h"
#include "halfback/engine/parameter_store.h"
#include "halfback/engine/stage.h"
#include "halfback/layers/language_model_head.h"
#include "halfback/models/llama.h"
#include "tests/support/parameter_numbers.h"

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <utility>

namespace halfback {
namespace {

LlamaConfig small(std::int64_t num_key_value_heads) {
  return {.num_layers = 3,
          .width = 24,
          .num_heads = 4,
          .num_key_value_heads = num_key_value_heads,
          .hidden = 40,
          .sequence = 12,
          .vocabulary = 31};
}

Stage stage_of(const LlamaConfig& config) {
  Stage::Options options;
  options.dtype = at::kDouble;
  return {
      std::move(build_llama(config, {static_cast<int>(config.num_layers)}, at::kDouble).front()),
      options};
}

at::Tensor tokens_of(std::int64_t num_texts, std::int64_t length) {
  at::Tensor tokens = at::empty({num_texts, length}, at::kLong);
  for (std::int64_t i = 0; i < tokens.numel(); ++i) {
    tokens.mutable_data_ptr<std::int64_t>()[i] =
        static_cast<std::int64_t>(mixed_bits({5, static_cast<std::uint64_t>(i)}) % 31);
  }
  return tokens;
}

// Logits of all positions, [N, T, V], by the layers of training.
at::Tensor whole_logits(Stage& stage, const at::Tensor& tokens) {
  const auto& head = dynamic_cast<const LanguageModelHead&>(*stage.layers().loss);
  return head.logits(stage.infer({tokens}).activations.front());
}

void expect_position(const at::Tensor& found, const at::Tensor& all, std::int64_t position) {
  const at::Tensor expected = all.select(1, position);
  ASSERT_EQ(found.sizes(), expected.sizes());
  EXPECT_TRUE(found.allclose(expected, 1e-10, 1e-10)) << "position " << position;
}

// Reads `prompt` tokens at once and the rest one by one.
void expect_same_logits(const LlamaConfig& config, std::int64_t num_texts, std::int64_t prompt) {
  Stage stage = stage_of(config);
  stage.store().initialize(9, testing::numbers_from(0, stage.store()));
  // Larger values than those of a fresh model, so that attention has something to choose.
  stage.store().values().mul_(5.0);
  const at::Tensor tokens = tokens_of(num_texts, config.sequence);
  const at::Tensor all = whole_logits(stage, tokens);
  LlamaDecoder decoder(stage.layers());
  expect_position(decoder.extend(tokens.narrow(1, 0, prompt).contiguous()), all, prompt - 1);
  for (std::int64_t position = prompt; position < config.sequence; ++position) {
    expect_position(decoder.extend(tokens.narrow(1, position, 1).contiguous()), all, position);
  }
}

TEST(LlamaDecoderTest, TokenByTokenEqualsTheWholeText) { expect_same_logits(small(4), 1, 1); }

TEST(LlamaDecoderTest, APromptThenTokensEqualsTheWholeText) {
  for (const std::int64_t prompt : {2, 7, 12}) {
    expect_same_logits(small(4), 1, prompt);
  }
}

TEST(LlamaDecoderTest, SharedKeyValueHeadsEqualTheWholeText) {
  expect_same_logits(small(2), 1, 4);
  expect_same_logits(small(1), 1, 1);
}

TEST(LlamaDecoderTest, SeveralTextsAtOnceEqualTheWholeTexts) { expect_same_logits(small(2), 3, 5); }

TEST(LlamaDecoderTest, ATiedHeadEqualsTheWholeText) {
  LlamaConfig config = small(4);
  config.has_tied_head = true;
  expect_same_logits(config, 2, 3);
}

}  // namespace
}  // namespace halfback
