// Sizes of models for images in config.json, there and back, and what is refused.
#include "halfback/base/error.h"
#include "halfback/checkpoint/cnn_json.h"
#include "halfback/checkpoint/mlp_json.h"
#include "halfback/checkpoint/resnet_json.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <string>

namespace halfback {
namespace {

using nlohmann::json;

constexpr ResnetConfig kResnet{.depth = 34,
                               .width = 16,
                               .num_classes = 10,
                               .image_channels = 1,
                               .image_height = 28,
                               .image_width = 29,
                               .has_small_stem = true};

std::string resnet_refusal(const json& changes) {
  json values = resnet_to_json(kResnet);
  values.update(changes);
  return text_of_thrown<FileError>([&] { resnet_from_json(values, "c.json"); });
}

TEST(ResnetJsonTest, ComesBackAsItWent) {
  EXPECT_EQ(resnet_from_json(resnet_to_json(kResnet), "c.json"), kResnet);
  EXPECT_EQ(resnet_from_json(resnet_to_json({.depth = 152}), "c.json"), ResnetConfig{.depth = 152});
  const ResnetConfig small{.depth = 20, .width = 16};
  EXPECT_EQ(resnet_to_json(small).at("num_features"), 64);
  EXPECT_EQ(resnet_from_json(resnet_to_json(small), "c.json"), small);
}

TEST(ResnetJsonTest, ReadsWhatTimmWrites) {
  const json values = json::parse(R"({
    "architecture": "resnet50", "num_classes": 1000, "num_features": 2048,
    "pretrained_cfg": {"tag": "a1_in1k", "custom_load": false, "input_size": [3, 224, 224],
                       "pool_size": [7, 7], "first_conv": "conv1", "classifier": "fc"}})");
  const ResnetConfig expected{.depth = 50,
                              .num_classes = 1000,
                              .image_channels = 3,
                              .image_height = 224,
                              .image_width = 224,
                              .has_small_stem = false};
  EXPECT_EQ(resnet_from_json(values, "c.json"), expected);
}

TEST(ResnetJsonTest, RefusesWhatItIsNot) {
  EXPECT_EQ(resnet_refusal({{"architecture", "resnet50d"}}),
            "c.json: \"architecture\" is \"resnet50d\"; expected the config of a ResNet of a "
            "known depth as timm writes it; use such a checkpoint");
  EXPECT_TRUE(contains(resnet_refusal({{"architecture", "vit"}}), "vit"));
  EXPECT_TRUE(contains(resnet_refusal({{"architecture", nullptr}}), "no \"architecture\""));
  EXPECT_TRUE(
      contains(resnet_refusal({{"architecture", "resnet26"}}), "c.json: model: --depth is 26"));
  EXPECT_TRUE(contains(resnet_refusal({{"num_classes", 2.5}}), "\"num_classes\" is \"2.5\""));
  EXPECT_TRUE(contains(resnet_refusal({{"num_classes", nullptr}}), "no \"num_classes\""));
  EXPECT_TRUE(contains(resnet_refusal({{"num_features", 512}}), "make 128"));
  EXPECT_TRUE(contains(resnet_refusal({{"width", 0}}), "--width is 0"));
  EXPECT_TRUE(contains(resnet_refusal({{"small_image_stem", 1}}), "small_image_stem"));
  EXPECT_TRUE(contains(resnet_refusal({{"model_args", {{"block_args", 1}}}}), "model_args"));
  EXPECT_TRUE(contains(resnet_refusal({{"pretrained_cfg", {{"input_size", {3, 224}}}}}),
                       "\"input_size\" is \"[3,224]\""));
  EXPECT_THROW(resnet_from_json(json::array(), "c.json"), FileError);
}

TEST(CnnJsonTest, ComesBackAsItWent) {
  const CnnConfig config{.num_layers = 3,
                         .width = 4,
                         .hidden = 20,
                         .num_classes = 5,
                         .image_channels = 3,
                         .image_height = 16,
                         .image_width = 9};
  EXPECT_EQ(cnn_from_json(cnn_to_json(config), "c.json"), config);
}

TEST(CnnJsonTest, RefusesWhatItIsNot) {
  const auto refusal = [](const json& changes) {
    json values = cnn_to_json({});
    values.update(changes);
    return text_of_thrown<FileError>([&] { cnn_from_json(values, "c.json"); });
  };
  EXPECT_TRUE(contains(refusal({{"architecture", "mlp"}}), "only \"cnn\" is supported"));
  EXPECT_TRUE(contains(refusal({{"hidden", 0}}), "c.json: model: --hidden is 0"));
  EXPECT_TRUE(contains(refusal({{"num_layers", 5}}), "model: --layers is 5; each halves"));
}

TEST(MlpJsonTest, ComesBackAsItWent) {
  const MlpConfig config{.num_layers = 3, .num_inputs = 12, .width = 7, .num_classes = 5};
  EXPECT_EQ(mlp_from_json(mlp_to_json(config), "c.json"), config);
}

TEST(MlpJsonTest, RefusesWhatItIsNot) {
  const auto refusal = [](const json& changes) {
    json values = mlp_to_json({});
    values.update(changes);
    return text_of_thrown<FileError>([&] { mlp_from_json(values, "c.json"); });
  };
  EXPECT_EQ(
      refusal({{"architecture", "resnet18"}}),
      "c.json: \"architecture\" is \"\\\"resnet18\\\"\", and only \"mlp\" is supported; expected "
      "the config of a multilayer perceptron; use such a checkpoint");
  EXPECT_TRUE(contains(refusal({{"width", -1}}), "c.json: model: --width is -1"));
  EXPECT_TRUE(contains(refusal({{"num_inputs", "784"}}), "\"num_inputs\" is"));
  EXPECT_THROW(mlp_from_json(json(3), "c.json"), FileError);
}

}  // namespace
}  // namespace halfback
