// A model's sizes in Hugging Face's config.json, there and back, and what is refused.
#include "halfback/checkpoint/llama_json.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <utility>
#include <vector>

namespace halfback {
namespace {

using nlohmann::json;

constexpr LlamaConfig kConfig{.num_layers = 3,
                              .width = 24,
                              .num_heads = 6,
                              .num_key_value_heads = 2,
                              .hidden = 40,
                              .sequence = 64,
                              .vocabulary = 300,
                              .rope_theta = 5e5,
                              .norm_epsilon = 1e-6,
                              .has_tied_head = true};

LlamaConfig read(const json& values) { return llama_from_json(values, "c.json"); }

std::string refusal(const json& values) {
  return text_of_thrown<FileError>([&] { read(values); });
}

json changed(const std::string& key, const json& value) {
  json values = llama_to_json(kConfig);
  values[key] = value;
  return values;
}

TEST(LlamaJsonTest, SizesGoThereAndBack) {
  EXPECT_EQ(read(llama_to_json(kConfig)), resolved(kConfig));
  EXPECT_EQ(read(llama_to_json({})), resolved(LlamaConfig{}));
  EXPECT_EQ(read(json::parse(llama_to_json(kConfig).dump())), resolved(kConfig));
  LlamaConfig other = resolved(kConfig);
  other.head_size = 6;
  other.positions = 4096;
  other.has_input_bias = true;
  EXPECT_EQ(read(llama_to_json(other)), other);
  EXPECT_EQ(llama_to_json(other).at("model_type"), "qwen2");
  other.has_output_bias = true;
  other.has_feed_forward_bias = true;
  EXPECT_EQ(read(llama_to_json(other)), other);
  EXPECT_EQ(llama_to_json(other).at("model_type"), "llama");
}

TEST(LlamaJsonTest, SaysWhatTransformersNeedsToKnow) {
  const json values = llama_to_json(kConfig);
  EXPECT_EQ(values.at("architectures"), json({"LlamaForCausalLM"}));
  EXPECT_EQ(values.at("model_type"), "llama");
  EXPECT_EQ(values.at("hidden_act"), "silu");
  EXPECT_EQ(values.at("num_key_value_heads"), 2);
  EXPECT_EQ(values.at("tie_word_embeddings"), true);
}

TEST(LlamaJsonTest, TakesTheDefaultsOfTransformersForWhatIsLeftOut) {
  json values = llama_to_json(kConfig);
  for (const char* key : {"num_key_value_heads", "max_position_embeddings", "rope_theta",
                          "rms_norm_eps", "tie_word_embeddings", "attention_bias", "hidden_act"}) {
    values.erase(key);
  }
  const LlamaConfig config = read(values);
  EXPECT_EQ(config.num_key_value_heads, 6);
  EXPECT_EQ(config.sequence, 2048);
  EXPECT_EQ(config.rope_theta, 10000.0);
  EXPECT_EQ(config.norm_epsilon, 1e-6);
  EXPECT_FALSE(config.has_tied_head);
}

// Oracle: transformers' LlamaConfig, which takes rope_scaling before rope_parameters, and in either
// the base inside before the one beside it.
TEST(LlamaJsonTest, ReadsTheBaseOfRotaryPositionsWhereverItStands) {
  json values = changed("rope_parameters", {{"rope_theta", 1234.0}, {"rope_type", "default"}});
  EXPECT_EQ(read(values).rope_theta, 1234.0);
  values.erase("rope_theta");
  EXPECT_EQ(read(values).rope_theta, 1234.0);
  values["rope_theta"] = 77.0;
  values["rope_parameters"].erase("rope_theta");
  EXPECT_EQ(read(values).rope_theta, 77.0);
  values["rope_scaling"] = {{"rope_type", "default"}, {"rope_theta", 5.0}};
  EXPECT_EQ(read(values).rope_theta, 5.0);
}

TEST(LlamaJsonTest, ReadsScaledRotaryPositions) {
  const auto scaling = [](const json& value) {
    return read(changed("rope_scaling", value)).rotary_scaling;
  };
  using Kind = RotaryScaling::Kind;
  const RotaryScaling linear{.kind = Kind::Linear, .factor = 4.0};
  EXPECT_EQ(scaling({{"rope_type", "linear"}, {"factor", 4}}), linear);
  EXPECT_EQ(scaling({{"type", "linear"}, {"factor", 4.0}}), linear);
  EXPECT_EQ(
      scaling({{"rope_type", "llama3"},
               {"factor", 8.0},
               {"low_freq_factor", 1.0},
               {"high_freq_factor", 4.0},
               {"original_max_position_embeddings", 32}}),
      (RotaryScaling{.kind = Kind::Llama3, .factor = 8.0, .original_positions = 32, .low = 1.0}));
  const RotaryScaling yarn = scaling({{"rope_type", "yarn"}, {"factor", 4.0}});
  EXPECT_EQ(yarn.original_positions, 64);
  EXPECT_EQ(yarn.low, 1.0);
  EXPECT_EQ(yarn.high, 32.0);
  EXPECT_DOUBLE_EQ(yarn.attention_factor, 0.1 * std::log(4.0) + 1.0);
}

TEST(LlamaJsonTest, RefusesFormsOfRotaryPositionsThatAreNotKnown) {
  EXPECT_TRUE(contains(refusal(changed("rope_scaling", {{"rope_type", "longrope"}})),
                       "c.json: \"rope_type\" is \"longrope\""));
  EXPECT_TRUE(contains(
      refusal(changed("rope_scaling", {{"rope_type", "default"}, {"mrope_section", {1, 2}}})),
      "\"mrope_section\""));
  EXPECT_TRUE(
      contains(refusal(changed("rope_scaling", {{"rope_type", "linear"}})), "no \"factor\""));
  EXPECT_TRUE(
      contains(refusal(changed("partial_rotary_factor", 0.5)), "\"partial_rotary_factor\" is "));
}

// Up to that length a sliding window sees all, and dynamic scaling changes nothing.
TEST(LlamaJsonTest, KnowsTheLengthUpToWhichItIsExact) {
  EXPECT_EQ(read(changed("rope_scaling", {{"rope_type", "dynamic"}, {"factor", 2.0}})).exact_length,
            64);
  json mistral = changed("model_type", "mistral");
  mistral["sliding_window"] = 16;
  EXPECT_EQ(read(mistral).exact_length, 16);
  EXPECT_EQ(read(mistral).sequence, 16);
  mistral["halfback_sequence"] = 17;
  EXPECT_TRUE(
      contains(refusal(mistral), "model: sequences of 17; expected 16 or less: beyond that this "))
      << refusal(mistral);
  mistral.erase("halfback_sequence");
  mistral["sliding_window"] = nullptr;
  EXPECT_EQ(read(mistral).exact_length, 0);
  json qwen = changed("model_type", "qwen2");
  qwen["sliding_window"] = 16;
  EXPECT_EQ(read(qwen).exact_length, 0) << "use_sliding_window is off";
  EXPECT_TRUE(read(qwen).has_input_bias);
  EXPECT_FALSE(read(qwen).has_output_bias);
}

TEST(LlamaJsonTest, TrainsAtAnotherLengthThanTheModelAllows) {
  const LlamaConfig config = read(changed("max_position_embeddings", 131072));
  EXPECT_EQ(config.positions, 131072);
  EXPECT_EQ(config.sequence, 2048);
}

TEST(LlamaJsonTest, RefusesFeaturesThatOursLacks) {
  const std::vector<std::pair<std::string, json>> features = {
      {"hidden_act", "gelu"}, {"layer_types", {"linear_attention"}}, {"head_dim", 7}};
  for (const auto& [key, value] : features) {
    const std::string text = refusal(changed(key, value));
    EXPECT_EQ(text.find("c.json: "), 0U) << text;
  }
}

TEST(LlamaJsonTest, RefusesKeysThatAreNotKnownUnlessTheyAreOff) {
  const std::string text = refusal(changed("num_experts", 8));
  EXPECT_EQ(text,
            "c.json: \"num_experts\" is \"8\", a key that is not known; expected the config of a "
            "LLaMA, Mistral or Qwen2 as Hugging Face writes it; take the key out if it does not "
            "change what the model computes");
  EXPECT_EQ(read(changed("use_something", false)), resolved(kConfig));
  EXPECT_EQ(read(changed("quantization_config", nullptr)), resolved(kConfig));
  EXPECT_EQ(read(changed("bos_token_id", 1)), resolved(kConfig));
}

TEST(LlamaJsonTest, AcceptsFeaturesThatAreOff) {
  EXPECT_EQ(read(changed("rope_scaling", nullptr)), resolved(kConfig));
  EXPECT_EQ(read(changed("head_dim", 4)), resolved(kConfig));
  EXPECT_EQ(read(changed("head_dim", nullptr)), resolved(kConfig));
  EXPECT_EQ(read(changed("attention_dropout", 0.0)), resolved(kConfig));
}

TEST(LlamaJsonTest, RefusesAnotherArchitecture) {
  EXPECT_TRUE(contains(refusal(changed("model_type", "gpt2")), "\"model_type\" is \"\\\"gpt2"));
  EXPECT_TRUE(contains(refusal(json::object()), "c.json: no \"model_type\""));
  EXPECT_TRUE(contains(refusal(json::array()), "c.json: no JSON object"));
}

TEST(LlamaJsonTest, RefusesSizesThatAreMissingOrNoNumbers) {
  for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers",
                          "num_attention_heads", "vocab_size"}) {
    json values = llama_to_json(kConfig);
    values.erase(key);
    EXPECT_TRUE(contains(refusal(values), std::string("c.json: no \"") + key + '"'));
    EXPECT_TRUE(contains(refusal(changed(key, "many")), std::string("\"") + key + "\" is "));
    EXPECT_TRUE(contains(refusal(changed(key, nullptr)), std::string("no \"") + key + '"'));
  }
}

TEST(LlamaJsonTest, RefusesSizesThatNoModelCanHave) {
  EXPECT_TRUE(contains(refusal(changed("hidden_size", 0)), "c.json: model: --width is 0"));
  EXPECT_TRUE(
      contains(refusal(changed("num_attention_heads", -1)), "c.json: model: --heads is -1"));
  EXPECT_TRUE(contains(refusal(changed("num_attention_heads", 5)), "width 24 over 5 heads"));
  EXPECT_TRUE(contains(refusal(changed("num_key_value_heads", 4)), "6 heads cannot share 4"));
  EXPECT_TRUE(contains(refusal(changed("num_hidden_layers", 1'000'000'000'000)),
                       "--layers is 1000000000000"));
}

// What is no whole number must not become one.
TEST(LlamaJsonTest, RefusesFractionsAndTruthValuesAsSizes) {
  EXPECT_TRUE(contains(refusal(changed("num_hidden_layers", 2.5)), "\"num_hidden_layers\" is "));
  EXPECT_TRUE(contains(refusal(changed("vocab_size", true)), "\"vocab_size\" is "));
}

}  // namespace
}  // namespace halfback
