// A Mamba's sizes in Hugging Face's config.json, there and back, and what is refused.
#include "halfback/checkpoint/mamba_json.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <utility>
#include <vector>

namespace halfback {
namespace {

using nlohmann::json;

constexpr MambaConfig kConfig{.num_layers = 3,
                              .width = 24,
                              .state_size = 8,
                              .conv_size = 3,
                              .expand = 3,
                              .dt_rank = 5,
                              .sequence = 64,
                              .vocabulary = 300,
                              .norm_epsilon = 1e-6,
                              .has_tied_head = true};

MambaConfig read(const json& values) { return mamba_from_json(values, "c.json"); }

std::string refusal(const json& values) {
  return text_of_thrown<FileError>([&] { read(values); });
}

json changed(const std::string& key, const json& value) {
  json values = mamba_to_json(kConfig);
  values[key] = value;
  return values;
}

TEST(MambaJsonTest, SizesGoThereAndBack) {
  EXPECT_EQ(read(mamba_to_json(kConfig)), kConfig);
  EXPECT_EQ(read(mamba_to_json({})), resolved(MambaConfig{}));
  EXPECT_EQ(read(json::parse(mamba_to_json(kConfig).dump())), kConfig);
}

TEST(MambaJsonTest, SaysWhatTransformersNeedsToKnow) {
  const json values = mamba_to_json(kConfig);
  EXPECT_EQ(values.at("architectures"), json({"MambaForCausalLM"}));
  EXPECT_EQ(values.at("model_type"), "mamba");
  EXPECT_EQ(values.at("intermediate_size"), 72);
  EXPECT_EQ(values.at("time_step_rank"), 5);
  EXPECT_EQ(mamba_to_json({}).at("time_step_rank"), "auto");
  EXPECT_EQ(values.at("use_bias"), false);
  EXPECT_EQ(values.at("tie_word_embeddings"), true);
}

TEST(MambaJsonTest, TakesTheDefaultsOfTransformersForWhatIsLeftOut) {
  json values = mamba_to_json({.num_layers = 2, .width = 32});
  for (const char* key :
       {"state_size", "conv_kernel", "expand", "time_step_rank", "halfback_sequence",
        "layer_norm_epsilon", "tie_word_embeddings", "use_bias", "use_conv_bias", "hidden_act"}) {
    values.erase(key);
  }
  EXPECT_EQ(read(values), (MambaConfig{.num_layers = 2,
                                       .width = 32,
                                       .state_size = 16,
                                       .conv_size = 4,
                                       .expand = 2,
                                       .dt_rank = 2,
                                       .sequence = 2048,
                                       .vocabulary = 256,
                                       .norm_epsilon = 1e-5,
                                       .has_tied_head = true}));
}

TEST(MambaJsonTest, RefusesFeaturesThatOursLacks) {
  const std::vector<std::pair<std::string, json>> features = {{"hidden_act", "gelu"},
                                                              {"use_bias", true},
                                                              {"use_conv_bias", false},
                                                              {"intermediate_size", 48}};
  for (const auto& [key, value] : features) {
    const std::string text = refusal(changed(key, value));
    EXPECT_EQ(text.find("c.json: \"" + key + "\" is "), 0U) << text;
    EXPECT_TRUE(contains(text, "is supported; expected the config of a Mamba")) << text;
  }
}

TEST(MambaJsonTest, AcceptsWhatChangesNoNumber) {
  EXPECT_EQ(read(changed("residual_in_fp32", false)), kConfig);
  EXPECT_EQ(read(changed("time_step_min", 0.01)), kConfig);
  EXPECT_EQ(read(changed("use_cache", true)), kConfig);
  EXPECT_EQ(read(changed("intermediate_size", nullptr)), kConfig);
}

TEST(MambaJsonTest, RefusesAnotherArchitecture) {
  EXPECT_TRUE(contains(refusal(changed("model_type", "mamba2")), "\"model_type\" is \"\\\"mamba2"));
  EXPECT_TRUE(contains(refusal(json::object()), "c.json: no \"model_type\""));
  EXPECT_TRUE(contains(refusal(json::array()), "c.json: no JSON object"));
}

TEST(MambaJsonTest, RefusesSizesThatAreMissingOrNoNumbers) {
  for (const char* key : {"hidden_size", "num_hidden_layers", "vocab_size"}) {
    json values = mamba_to_json(kConfig);
    values.erase(key);
    EXPECT_TRUE(contains(refusal(values), std::string("c.json: no \"") + key + '"'));
    EXPECT_TRUE(contains(refusal(changed(key, "many")), std::string("\"") + key + "\" is "));
    EXPECT_TRUE(contains(refusal(changed(key, 2.5)), std::string("\"") + key + "\" is "));
  }
  EXPECT_TRUE(contains(refusal(changed("time_step_rank", "some")), "\"time_step_rank\" is "));
}

TEST(MambaJsonTest, RefusesSizesThatNoModelCanHave) {
  EXPECT_TRUE(contains(refusal(changed("hidden_size", 0)), "c.json: model: --width is 0"));
  EXPECT_TRUE(contains(refusal(changed("state_size", -1)), "c.json: model: --state-size is -1"));
  EXPECT_TRUE(contains(refusal(changed("num_hidden_layers", 1'000'000'000'000)),
                       "--layers is 1000000000000"));
}

}  // namespace
}  // namespace halfback
