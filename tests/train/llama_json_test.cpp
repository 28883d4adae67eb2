// A model's sizes in Hugging Face's config.json, there and back, and what is refused.
#include "halfback/train/llama_json.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

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
  EXPECT_EQ(read(llama_to_json(kConfig)), kConfig);
  EXPECT_EQ(read(llama_to_json({})), LlamaConfig{});
  EXPECT_EQ(read(json::parse(llama_to_json(kConfig).dump())), kConfig);
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

TEST(LlamaJsonTest, ReadsTheBaseOfRotaryPositionsWhereNewerFilesHaveIt) {
  json values = changed("rope_parameters", {{"rope_theta", 1234.0}, {"rope_type", "default"}});
  EXPECT_EQ(read(values).rope_theta, 1234.0);
  values.erase("rope_theta");
  EXPECT_EQ(read(values).rope_theta, 1234.0);
  values["rope_parameters"]["rope_type"] = "llama3";
  EXPECT_EQ(refusal(values),
            "c.json: \"rope_type\" is \"\\\"llama3\\\"\", and only \"default\" is supported; "
            "expected the config of a LLaMA as Hugging Face writes it; use such a checkpoint");
}

TEST(LlamaJsonTest, RefusesFeaturesThatOursLacks) {
  const std::vector<std::pair<std::string, json>> features = {
      {"hidden_act", "gelu"}, {"attention_bias", true},
      {"mlp_bias", true},     {"rope_scaling", {{"rope_type", "linear"}, {"factor", 2.0}}},
      {"head_dim", 8},
  };
  for (const auto& [key, value] : features) {
    const std::string text = refusal(changed(key, value));
    EXPECT_EQ(text.find("c.json: \"" + key + "\" is "), 0U) << text;
    EXPECT_TRUE(contains(text, "is supported")) << text;
  }
}

TEST(LlamaJsonTest, AcceptsFeaturesThatAreOff) {
  EXPECT_EQ(read(changed("rope_scaling", nullptr)), kConfig);
  EXPECT_EQ(read(changed("head_dim", 4)), kConfig);
  EXPECT_EQ(read(changed("head_dim", nullptr)), kConfig);
  EXPECT_EQ(read(changed("attention_dropout", 0.0)), kConfig);
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
