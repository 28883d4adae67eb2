#include "bench/split_subjects.h"

#include "halfback/layers/attention.h"
#include "halfback/layers/autograd_layer.h"
#include "halfback/layers/batch_norm.h"
#include "halfback/layers/convolution.h"
#include "halfback/layers/embedding.h"
#include "halfback/layers/feed_forward.h"
#include "halfback/layers/gelu_feed_forward.h"
#include "halfback/layers/language_model_head.h"
#include "halfback/layers/layer_norm.h"
#include "halfback/layers/linear.h"
#include "halfback/layers/mamba_block.h"
#include "halfback/layers/residual.h"
#include "halfback/layers/residual_block.h"
#include "halfback/layers/rms_norm.h"
#include "halfback/layers/self_attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <utility>

namespace halfback::bench {

namespace {

constexpr std::int64_t kNumBlocks = 8;
constexpr double kEpsilon = 1e-5;

// Models: embedding, blocks and head, or blocks alone.
const std::string kLlama = "LLaMA of 8 blocks";
const std::string kMamba = "Mamba of 8 blocks";
const std::string kBert = "8 blocks of BERT";
const std::string kResnet = "8 bottlenecks of ResNet";

// Running statistics get values too, but are no longer among the subject's parameters.
void give_memory(Subject& subject) {
  for (Parameter* parameter : subject.parameters) {
    const bool is_matrix = parameter->shape.size() > 1;
    parameter->value = is_matrix ? at::randn(parameter->shape) * 0.02 : at::ones(parameter->shape);
    if (parameter->trains) {
      parameter->gradient = at::zeros(parameter->shape);
      parameter->has_gradient = true;
      subject.leaves.push_back(parameter->value.clone().set_requires_grad(true));
    }
  }
  std::erase_if(subject.parameters, [](const Parameter* one) { return !one->trains; });
}

template <typename Any>
void weight_gradients(Any& layer, Saved& saved) {
  Saved* one = &saved;
  layer.backward_weight({&one, 1});
}

Subject layer_subject(const std::string& name,
                      const std::shared_ptr<Layer>& layer,
                      const at::Tensor& x) {
  Subject subject{.name = name, .owner = layer, .parameters = layer->parameters(), .x = x};
  subject.gradient = at::randn(layer->describe({x.sizes().vec()}, sizeof(float)).shapes.front());
  subject.forward = [layer, x](Saved& saved) { layer->forward(Tensors{x}, saved, {}); };
  subject.input = [layer, gradient = subject.gradient](Saved& saved) {
    return layer->backward_input(Tensors{gradient}, saved, {}).front();
  };
  subject.weight = [layer](Saved& saved) { weight_gradients(*layer, saved); };
  return subject;
}

Subject head_subject(const Sizes& sizes, const at::Tensor& x) {
  const auto head = std::make_shared<LanguageModelHead>(
      LanguageModelHead::Options{.num_channels = sizes.width, .vocabulary = sizes.vocabulary});
  const at::Tensor targets =
      at::randint(sizes.vocabulary, {sizes.samples, sizes.sequence}, at::kLong);
  const double scale = 1.0 / static_cast<double>(targets.numel());
  Subject subject{.name = "LanguageModelHead",
                  .count_in_models = {{kLlama, 1}, {kMamba, 1}},
                  .owner = head,
                  .parameters = head->parameters(),
                  .x = x};
  subject.gradient = at::ones({}) * scale;
  subject.forward = [head, x, targets](Saved& saved) { head->forward(x, targets, saved, {}); };
  subject.input = [head, scale](Saved& saved) { return head->backward_input(scale, saved, {}); };
  subject.weight = [head](Saved& saved) { weight_gradients(*head, saved); };
  subject.reference = [targets](const Values& values, const at::Tensor& input) {
    return autograd_head(values, input, targets);
  };
  return subject;
}

Subject attention_subject(const Sizes& sizes, const at::Tensor& x) {
  const RotaryAngles angles =
      rotary_angles({.length = sizes.sequence, .head_size = sizes.width / sizes.heads}, at::kFloat);
  Subject subject = layer_subject(
      "Attention",
      std::make_shared<Attention>("layer", Attention::Options{.num_channels = sizes.width,
                                                              .num_heads = sizes.heads,
                                                              .num_key_value_heads = sizes.heads,
                                                              .angles = angles}),
      x);
  subject.count_in_models = {{kLlama, kNumBlocks}};
  const Rotation rotation{at::cat({angles.cosine, angles.cosine}, 1),
                          at::cat({angles.sine, angles.sine}, 1)};
  subject.reference = [rotation](const Values& values, const at::Tensor& input) {
    return autograd_attention(values, input, rotation);
  };
  return subject;
}

Subject module_subject(const Sizes& sizes, const at::Tensor& x) {
  const std::int64_t width = sizes.width;
  ForeignModule module{.name = "block", .forward = {}};
  Values values;
  for (const auto& shape : std::vector<std::vector<std::int64_t>>{{width},
                                                                  {width},
                                                                  {3 * width, width},
                                                                  {3 * width},
                                                                  {width, width},
                                                                  {width},
                                                                  {width},
                                                                  {width},
                                                                  {4 * width, width},
                                                                  {4 * width},
                                                                  {width, 4 * width},
                                                                  {width}}) {
    values.push_back(at::zeros(shape).set_requires_grad(true));
    module.parameters.push_back({std::to_string(values.size()), values.back()});
  }
  module.forward = [values, heads = sizes.heads](const Tensors& inputs, const Call&) {
    return Tensors{autograd_block(values, inputs.front(), heads)};
  };
  Subject subject =
      layer_subject("AutogradLayer", std::make_shared<AutogradLayer>(std::move(module)), x);
  subject.reference = [heads = sizes.heads](const Values& leaves, const at::Tensor& input) {
    return autograd_block(leaves, input, heads);
  };
  return subject;
}

Subject bert_subject(const Sizes& sizes, const at::Tensor& x) {
  const auto residual = [](std::unique_ptr<Layer> layer) {
    std::vector<std::unique_ptr<Layer>> branch;
    branch.push_back(std::move(layer));
    return std::make_unique<Residual>(std::move(branch));
  };
  std::vector<std::unique_ptr<Layer>> layers;
  layers.push_back(residual(std::make_unique<SelfAttention>(
      "attention", SelfAttention::Options{.num_channels = sizes.width, .num_heads = sizes.heads})));
  layers.push_back(std::make_unique<LayerNorm>("attention.norm", sizes.width, kEpsilon));
  layers.push_back(residual(std::make_unique<GeluFeedForward>(
      "mlp", GeluFeedForward::Options{.num_channels = sizes.width, .hidden = 4 * sizes.width})));
  layers.push_back(std::make_unique<LayerNorm>("norm", sizes.width, kEpsilon));
  Subject subject =
      layer_subject("block of BERT", std::make_shared<Sequence>(std::move(layers)), x);
  subject.count_in_models = {{kBert, kNumBlocks}};
  subject.reference = [heads = sizes.heads](const Values& values, const at::Tensor& input) {
    return autograd_bert_block(values, input, heads);
  };
  return subject;
}

// From the middle of a ResNet stage: `width` channels outside, a quarter of them inside.
Subject bottleneck_subject(const Sizes& sizes) {
  const std::int64_t outer = sizes.width;
  const std::int64_t inner = outer / 4;
  ResidualBlock::Branch main;
  const auto add = [&main](const Convolution::Options& options, bool has_relu) {
    main.push_back(std::make_unique<Convolution>("conv", options));
    main.push_back(std::make_unique<BatchNorm>(
        "bn", BatchNorm::Options{.num_channels = options.num_outputs, .has_relu = has_relu}));
  };
  add({.num_inputs = outer, .num_outputs = inner}, true);
  add({.num_inputs = inner, .num_outputs = inner, .window = 3, .padding = 1}, true);
  add({.num_inputs = inner, .num_outputs = outer}, false);
  Subject subject =
      layer_subject("bottleneck of ResNet",
                    std::make_shared<ResidualBlock>(std::move(main), ResidualBlock::Branch()),
                    at::randn({sizes.samples, outer, sizes.image, sizes.image}));
  subject.count_in_models = {{kResnet, kNumBlocks}};
  subject.reference = autograd_bottleneck;
  return subject;
}

}  // namespace

std::vector<Subject> make_subjects(const Sizes& sizes) {
  const at::Tensor x = at::randn({sizes.samples, sizes.sequence, sizes.width});
  const at::Tensor ids = at::randint(sizes.vocabulary, {sizes.samples, sizes.sequence}, at::kLong);
  std::vector<Subject> all;
  all.push_back(attention_subject(sizes, x));
  all.push_back(layer_subject(
      "FeedForward",
      std::make_shared<FeedForward>(
          "layer", FeedForward::Options{.num_channels = sizes.width, .hidden = sizes.hidden}),
      x));
  all.back().count_in_models = {{kLlama, kNumBlocks}};
  all.back().reference = autograd_feed_forward;
  all.push_back(head_subject(sizes, x));
  all.push_back(layer_subject(
      "Embedding",
      std::make_shared<Embedding>(
          "embed", Embedding::Options{.vocabulary = sizes.vocabulary, .num_channels = sizes.width}),
      ids));
  all.back().count_in_models = {{kLlama, 1}, {kMamba, 1}};
  all.back().reference = autograd_embedding;
  all.push_back(layer_subject(
      "Linear",
      std::make_shared<Linear>(
          "linear", LinearOptions{.num_inputs = sizes.width, .num_outputs = sizes.hidden}),
      x));
  all.back().reference = autograd_linear;
  all.push_back(layer_subject("RmsNorm", std::make_shared<RmsNorm>("norm", sizes.width, 1e-5), x));
  all.back().reference = autograd_norm;
  all.push_back(layer_subject(
      "MambaBlock",
      std::make_shared<MambaBlock>("layer", MambaBlock::Options{.num_channels = sizes.width,
                                                                .inner_channels = 2 * sizes.width,
                                                                .step_rank = sizes.width / 16}),
      x));
  all.back().count_in_models = {{kMamba, kNumBlocks}};
  all.back().reference = autograd_mamba;
  all.push_back(bert_subject(sizes, x));
  all.push_back(bottleneck_subject(sizes));
  all.push_back(module_subject(sizes, x));
  for (Subject& subject : all) {
    give_memory(subject);
  }
  return all;
}

}  // namespace halfback::bench
