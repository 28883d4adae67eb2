// Local heads against autograd on the plain formulas, and where they stand in a model.
#include "halfback/models/local_heads.h"

#include "halfback/base/error.h"
#include "halfback/models/cut.h"
#include "tests/support/errors.h"
#include "tests/support/image_references.h"
#include "tests/support/layer_checks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/adaptive_avg_pool2d.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

namespace halfback {
namespace {

constexpr std::int64_t kClasses = 4;

at::Tensor targets_of(at::IntArrayRef input_shape) {
  return Random(3).ids({input_shape.front()}, kClasses);
}

at::Tensor hidden(const Values& values, std::size_t first, const at::Tensor& x) {
  return at::relu(linear_reference({values[first], values[first + 1]}, x));
}

// A product that is there already, and the norm's two values after its weight.
at::Tensor normed(const Values& values, std::size_t weight, const at::Tensor& product) {
  return at::relu(
      batch_norm_reference(values[weight + 1], values[weight + 2], product, /*epsilon=*/1e-5));
}

at::Tensor mlp_sr(const Values& values, const at::Tensor& x) {
  at::Tensor y = at::adaptive_avg_pool2d(x, {(x.size(2) + 3) / 4, (x.size(3) + 3) / 4});
  for (const std::size_t weight : {0U, 3U, 6U}) {
    y = normed(values, weight, convolution_reference({values[weight]}, y, 1, 0));
  }
  y = at::adaptive_avg_pool2d(y, {2, 2}).flatten(1);
  for (const std::size_t weight : {9U, 12U, 15U}) {
    y = normed(values, weight, linear_reference({values[weight]}, y));
  }
  return y;
}

at::Tensor cnn(const Values& values, const at::Tensor& x) {
  at::Tensor y = x;
  for (const std::size_t weight : {0U, 3U}) {
    y = normed(values, weight, convolution_reference({values[weight]}, y, 1, 1));
  }
  return y.mean({2, 3});
}

struct HeadCase {
  std::string name;
  std::vector<std::int64_t> shape;
  Reference features;  // what the classifier reads
};

at::Tensor prediction_reference(const HeadCase& one, const Values& values, const at::Tensor& x) {
  return classifier_reference({values[values.size() - 2], values.back()}, one.features(values, x),
                              targets_of(x.sizes()));
}

at::Tensor map_reference(const at::Tensor& weight, const at::Tensor& x) {
  if (x.dim() == 2) {
    return linear_reference({weight}, x);
  }
  const at::Tensor y = convolution_reference({weight}, x, 1, 1);
  return x.size(2) * x.size(3) > 1 ? deviation_reference(y) : y.flatten(1);
}

at::Tensor loss_reference(LocalLoss loss,
                          const HeadCase& one,
                          const Values& values,
                          const at::Tensor& x) {
  if (loss == LocalLoss::Pred) {
    return prediction_reference(one, values, x);
  }
  const at::Tensor similarity =
      similarity_reference(map_reference(values.front(), x), targets_of(x.sizes()), kClasses);
  if (loss == LocalLoss::Sim) {
    return similarity;
  }
  const Values of_head(values.begin() + 1, values.end());
  return 0.01 * prediction_reference(one, of_head, x) + 0.99 * similarity;
}

class LocalHeadTest : public testing::TestWithParam<HeadCase> {
 protected:
  static void expect_equals_autograd(LocalLoss loss);
};

void LocalHeadTest::expect_equals_autograd(LocalLoss loss) {
  const HeadCase& one = GetParam();
  LossAsLayer layer(
      make_local_loss(loss, parse_local_head(one.name),
                      {.name = "local", .input_shape = one.shape, .num_outcomes = kClasses}),
      targets_of);
  Random random;
  give_memory(layer.parameters(), at::kDouble, random);
  const at::Tensor input = random.normal(one.shape, at::kDouble);
  const at::Tensor before = input.clone();
  const at::Tensor scale = at::scalar_tensor(0.5, at::TensorOptions(at::kDouble));
  const Results found = run_layer(layer, input, scale);
  EXPECT_TRUE(same_bits(input, before));  // it goes on to the next stage too
  const Reference reference = [&](const Values& values, const at::Tensor& x) {
    return loss_reference(loss, one, values, x);
  };
  const Results expected = run_autograd(reference, layer.parameters(), input, scale);
  EXPECT_LT(relative_error(found.output, expected.output), 1e-10);
  EXPECT_LT(relative_error(found.grad_input, expected.grad_input), 1e-9);
  ASSERT_EQ(found.grad_parameters.size(), expected.grad_parameters.size());
  for (std::size_t i = 0; i < found.grad_parameters.size(); ++i) {
    EXPECT_LT(relative_error(found.grad_parameters[i], expected.grad_parameters[i]), 1e-9)
        << trained(layer.parameters())[i]->name;
  }
}

TEST_P(LocalHeadTest, GradientsEqualAutograd) { expect_equals_autograd(LocalLoss::Pred); }

TEST_P(LocalHeadTest, GradientsBesideSimilaritiesEqualAutograd) {
  expect_equals_autograd(LocalLoss::PredSim);
}

TEST_P(LocalHeadTest, GradientsOfSimilaritiesEqualAutograd) {
  expect_equals_autograd(LocalLoss::Sim);
}

// Its rows alone have a loss, and a gradient.
TEST(LocalHeadsTest, OnlyMaskedWordsHaveALoss) {
  constexpr std::int64_t kVocabulary = 9;
  Random random;
  const at::Tensor input = random.normal({2, 4, 6}, at::kDouble);
  const at::Tensor targets = at::tensor({-1, 3, -1, -1, 0, -1, -1, 8}, at::kLong).view({2, 4});
  for (const LocalHead kind : {LocalHead::Linear, LocalHead::Shared}) {
    const auto head = [&](Task task) {
      return make_local_head(kind, {.name = "local",
                                    .task = task,
                                    .input_shape = {1, 4, 6},
                                    .num_outcomes = kVocabulary,
                                    .targets_per_sample = 2});
    };
    const auto masked = head(Task::MaskedToken);
    const auto all = head(Task::NextToken);
    for (LossLayer* const one : {masked.get(), all.get()}) {
      Random same(5);
      give_memory(one->parameters(), at::kDouble, same);
    }
    const at::Tensor rows = at::tensor({1, 4, 7}, at::kLong);
    Saved saved;
    Saved expected_saved;
    const double loss = masked->forward(input, targets, saved, {});
    const at::Tensor own = input.view({8, 6}).index_select(0, rows);
    EXPECT_EQ(loss, all->forward(own, at::tensor({3, 0, 8}, at::kLong), expected_saved, {}));
    EXPECT_EQ(masked->num_correct(saved), all->num_correct(expected_saved));
    at::Tensor gradient = masked->backward_input(0.5, saved, {}).view({8, 6});
    const at::Tensor expected = all->backward_input(0.5, expected_saved, {});
    EXPECT_TRUE(gradient.index_select(0, rows).equal(expected));
    EXPECT_EQ(gradient.index_fill_(0, rows, 0.0).abs().sum().item<double>(), 0.0);
    Saved* one = &saved;
    Saved* other = &expected_saved;
    masked->backward_weight({&one, 1});
    all->backward_weight({&other, 1});
    for (std::size_t i = 0; i < masked->parameters().size(); ++i) {
      EXPECT_TRUE(!masked->parameters()[i]->trains ||
                  masked->parameters()[i]->gradient.equal(all->parameters()[i]->gradient));
    }
    EXPECT_TRUE(saved.is_empty());
  }
}

// Of the contrastive head: hidden weight and bias, projection.
TEST(LocalHeadsTest, TheContrastiveHeadEqualsAutograd) {
  for (const std::vector<std::int64_t>& shape :
       {std::vector<std::int64_t>{6, 5}, {4, 5, 1, 1}, {8, 3, 4, 2}}) {
    LossAsLayer layer(make_contrastive_loss({.projection = 7, .temperature = 0.2},
                                            {.name = "local", .input_shape = shape}),
                      targets_of);
    Random random;
    give_memory(layer.parameters(), at::kDouble, random);
    const at::Tensor input = random.normal(shape, at::kDouble);
    const at::Tensor before = input.clone();
    const at::Tensor scale = at::scalar_tensor(0.5, at::TensorOptions(at::kDouble));
    const Results found = run_layer(layer, input, scale);
    EXPECT_TRUE(same_bits(input, before));
    const Reference reference = [](const Values& values, const at::Tensor& x) {
      const at::Tensor y = x.dim() == 4 ? x.mean({2, 3}) : x;
      return contrastive_reference(linear_reference({values[2]}, hidden(values, 0, y)), 0.2);
    };
    const Results expected = run_autograd(reference, layer.parameters(), input, scale);
    EXPECT_LT(relative_error(found.output, expected.output), 1e-6);
    EXPECT_LT(relative_error(found.grad_input, expected.grad_input), 1e-6);
    ASSERT_EQ(found.grad_parameters.size(), 3U);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_LT(relative_error(found.grad_parameters[i], expected.grad_parameters[i]), 1e-6) << i;
    }
  }
}

std::vector<HeadCase> head_cases() {
  return {{"linear", {3, 5}, [](const Values&, const at::Tensor& x) { return x; }},
          {"linear",
           {2, 3, 4, 5},
           [](const Values&, const at::Tensor& x) {
             return x.mean({2, 3});
           }},
          {"mlp-1", {3, 5}, [](const Values& v, const at::Tensor& x) { return hidden(v, 0, x); }},
          {"mlp-1",
           {3, 5, 2, 2},
           [](const Values& v, const at::Tensor& x) {
             return hidden(v, 0, x.mean({2, 3}));
           }},
          {"mlp-2",
           {4, 6},
           [](const Values& v, const at::Tensor& x) { return hidden(v, 2, hidden(v, 0, x)); }},
          {"mlp-sr", {17, 3, 9, 8}, mlp_sr},
          {"linear", {4, 5, 1, 1}, [](const Values&, const at::Tensor& x) { return x.flatten(1); }},
          {"cnn", {4, 3, 5, 4}, cnn}};
}

INSTANTIATE_TEST_SUITE_P(All,
                         LocalHeadTest,
                         testing::ValuesIn(head_cases()),
                         [](const auto& entry) {
                           std::string name = entry.param.name;
                           name.erase(std::remove(name.begin(), name.end(), '-'), name.end());
                           for (const std::int64_t size : entry.param.shape) {
                             name += "x" + std::to_string(size);
                           }
                           return name;
                         });

std::vector<StageLayers> with_heads(const ModelConfig& config,
                                    const std::vector<int>& cut,
                                    LocalHead head,
                                    const std::vector<int>& stages_with_loss) {
  std::vector<StageLayers> stages = build_model(config, cut);
  add_local_heads(config, {.local_head = head, .stages_with_loss = stages_with_loss}, stages);
  return stages;
}

std::vector<std::string> head_names(const StageLayers& stage) {
  std::vector<std::string> names;
  for (const Parameter* parameter : stage.loss->parameters()) {
    names.push_back(parameter->name);
  }
  return names;
}

TEST(LocalHeadsTest, StandOnTheStagesAskedFor) {
  const MlpConfig config{.num_layers = 4, .num_inputs = 6, .width = 5, .num_classes = 3};
  const auto stages = with_heads(config, {1, 1, 1, 1}, LocalHead::Mlp1, {0, 2, 3});
  ASSERT_TRUE(stages[0].loss && stages[2].loss);
  EXPECT_FALSE(stages[1].loss);
  EXPECT_EQ(head_names(stages[2]),
            (std::vector<std::string>{"local_heads.2.0.weight", "local_heads.2.0.bias",
                                      "local_heads.2.classifier.weight",
                                      "local_heads.2.classifier.bias"}));
  EXPECT_EQ(head_names(stages[3]), (std::vector<std::string>{"head.weight", "head.bias"}));
}

TEST(LocalHeadsTest, AreNamedByTheBlockInFrontOfThemHoweverTheModelIsCut) {
  const MlpConfig config{.num_layers = 4, .num_inputs = 6, .width = 5, .num_classes = 3};
  EXPECT_EQ(head_names(with_heads(config, {2, 2}, LocalHead::Linear, {0})[0]),
            head_names(with_heads(config, {1, 1, 1, 1}, LocalHead::Linear, {1})[1]));
}

TEST(LocalHeadsTest, SimilaritiesHaveAMapUnderTheSameName) {
  const MlpConfig config{.num_layers = 2, .num_inputs = 6, .width = 5, .num_classes = 3};
  const auto names = [&](LocalLoss loss) {
    std::vector<StageLayers> stages = build_model(config, {1, 1});
    add_local_heads(config, {.local_loss = loss, .stages_with_loss = {0, 1}}, stages);
    EXPECT_EQ(head_names(stages[1]), (std::vector<std::string>{"head.weight", "head.bias"}));
    return head_names(stages[0]);
  };
  EXPECT_EQ(names(LocalLoss::Sim), (std::vector<std::string>{"local_heads.0.similarity.weight"}));
  EXPECT_EQ(names(LocalLoss::PredSim), (std::vector<std::string>{"local_heads.0.similarity.weight",
                                                                 "local_heads.0.classifier.weight",
                                                                 "local_heads.0.classifier.bias"}));
}

TEST(LocalHeadsTest, TheContrastiveLossTakesThePlaceOfTheLast) {
  const MlpConfig config{.num_layers = 2, .num_inputs = 6, .width = 5, .num_classes = 3};
  std::vector<StageLayers> stages = build_model(config, {1, 1});
  add_local_heads(
      config,
      {.local_loss = LocalLoss::InfoNce, .contrast = {.projection = 4}, .stages_with_loss = {0, 1}},
      stages);
  EXPECT_EQ(head_names(stages[0]),
            (std::vector<std::string>{"local_heads.0.0.weight", "local_heads.0.0.bias",
                                      "local_heads.0.projection.weight"}));
  EXPECT_EQ(head_names(stages[1]),
            (std::vector<std::string>{"head.weight", "head.bias", "local_heads.1.0.weight",
                                      "local_heads.1.0.bias", "local_heads.1.projection.weight"}));
  const auto parameters = stages[1].loss->parameters();
  EXPECT_FALSE(parameters[0]->decays) << "nothing changes it";
  EXPECT_EQ(parameters[4]->shape, (std::vector<std::int64_t>{4, 5}));
}

TEST(LocalHeadsTest, TokensHaveANormAndAVocabularyOfTheirOwn) {
  LlamaConfig config;
  config.num_layers = 2;
  const auto stages = with_heads(config, {1, 1}, LocalHead::Linear, {0});
  EXPECT_EQ(head_names(stages[0]),
            (std::vector<std::string>{"local_heads.0.norm.weight", "local_heads.0.weight"}));
  EXPECT_EQ(stages[0].loss->parameters()[1]->shape,
            (std::vector<std::int64_t>{config.vocabulary, config.width}));
  std::set<std::string> names;
  for (const StageLayers& stage : stages) {
    for (const Parameter* parameter : stage.parameters()) {
      EXPECT_TRUE(names.insert(parameter->name).second) << parameter->name;
    }
  }
}

TEST(LocalHeadsTest, SharedOnesTrainAllButTheirCopy) {
  const auto trained_names = [](const StageLayers& stage) {
    std::vector<std::string> names;
    for (const Parameter* parameter : trained(stage.loss->parameters())) {
      names.push_back(parameter->name);
    }
    return names;
  };
  for (const ModelConfig& config :
       std::vector<ModelConfig>{LlamaConfig{.num_layers = 2}, MambaConfig{.num_layers = 2},
                                BertConfig{.num_layers = 2}}) {
    const auto stages = with_heads(config, {1, 1}, LocalHead::Shared, {0});
    EXPECT_EQ(trained_names(stages[0]),
              (std::vector<std::string>{"local_heads.0.norm.weight", "local_heads.0.scale",
                                        "local_heads.0.bias"}));
    const Parameter* const copy = stages[0].loss->output_matrix();
    EXPECT_EQ(copy->name, "local_heads.0.weight");
    EXPECT_EQ(copy->shape, stages[1].loss->output_matrix()->shape) << model_name(config);
    EXPECT_TRUE(stages[1].loss->output_matrix()->trains);
  }
}

// Images shrink on their way; each head fits what its stage gives.
TEST(LocalHeadsTest, FitEveryStageOfAResnet) {
  const ResnetConfig config{.depth = 18,
                            .width = 4,
                            .num_classes = 3,
                            .image_channels = 2,
                            .image_height = 16,
                            .image_width = 16};
  for (const LocalHead head :
       {LocalHead::Linear, LocalHead::Mlp2, LocalHead::MlpSr, LocalHead::Cnn}) {
    const auto stages = with_heads(config, {2, 2, 2, 2}, head, {0, 1, 2});
    at::Tensor x = Random(5).normal({6, 2, 16, 16}, at::kFloat);
    for (const StageLayers& stage : stages) {
      Random random;
      give_memory(stage.parameters(), at::kFloat, random);
      for (const auto& layer : stage.layers) {
        Saved dropped;
        x = forward_of(*layer, x, dropped);
      }
      Saved saved;
      stage.loss->forward(x, Random(6).ids({6}, 3), saved, {});
      EXPECT_EQ(stage.loss->backward_input(1.0, saved, {}).sizes(), x.sizes());
    }
  }
}

TEST(LocalHeadsTest, RefuseWhatTheyDoNotFit) {
  const auto text = [](LocalHead head, const LocalHeadPlace& place) {
    return text_of_thrown<ConfigError>([&] { make_local_head(head, place); });
  };
  EXPECT_EQ(text(LocalHead::MlpSr, {.name = "h", .input_shape = {1, 256}, .num_outcomes = 2}),
            "local head: mlp-sr reads images, and the stage gives 256 numbers per sample; expected "
            "linear, mlp-1 or mlp-2");
  EXPECT_EQ(
      text(LocalHead::Mlp1,
           {.name = "h", .task = Task::NextToken, .input_shape = {1, 8, 16}, .num_outcomes = 9}),
      "local head: mlp-1 predicts classes, not tokens; expected linear or shared");
  const std::string no_classes =
      "local head: shared predicts tokens, by a copy of the output matrix, not classes; expected "
      "linear, mlp-1, mlp-2, mlp-sr or cnn";
  EXPECT_EQ(text(LocalHead::Shared, {.name = "h", .input_shape = {1, 256}, .num_outcomes = 2}),
            no_classes);
  EXPECT_EQ(text_of_thrown<ConfigError>([] {
              make_local_loss(LocalLoss::Sim, LocalHead::Shared,
                              {.name = "h", .input_shape = {1, 256}, .num_outcomes = 2});
            }),
            no_classes);
  EXPECT_EQ(text_of_thrown<ConfigError>([] {
              make_local_loss(
                  LocalLoss::PredSim, LocalHead::Linear,
                  {.name = "h", .task = Task::NextToken, .input_shape = {1, 8}, .num_outcomes = 9});
            }),
            "local loss: predsim compares classes, not tokens; expected pred");
  EXPECT_EQ(text_of_thrown<ConfigError>([] {
              build_model(LlamaConfig{.num_layers = 1}, {1},
                          {.local_loss = LocalLoss::InfoNce, .stages_with_loss = {0}});
            }),
            "local loss: infonce compares views of images, not tokens; expected pred");
  EXPECT_TRUE(contains(text_of_thrown<ConfigError>([] { parse_local_head("lineer"); }),
                       "local head: 'lineer' is not known (did you mean linear"));
  for (const std::string& name : local_head_names()) {
    EXPECT_NO_THROW(parse_local_head(name));
  }
}

}  // namespace
}  // namespace halfback
