#include "tests/support/layer_cases.h"

#include "halfback/layers/activation.h"
#include "halfback/layers/attention.h"
#include "halfback/layers/embedding.h"
#include "halfback/layers/feed_forward.h"
#include "halfback/layers/language_model_head.h"
#include "halfback/layers/linear.h"
#include "halfback/layers/rms_norm.h"
#include "halfback/layers/shapes.h"
#include "halfback/layers/shared_head.h"
#include "tests/support/layer_references.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/erf.h>
#include <ATen/ops/exp.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace halfback {

namespace {

using Shape = std::vector<std::int64_t>;

constexpr double kEpsilon = 0.02;  // large, so that one left out is seen
constexpr std::int64_t kAnglesLength = 700;

std::string text(const Shape& shape) {
  std::string joined;
  for (const std::int64_t size : shape) {
    joined += joined.empty() ? "" : "x";
    joined += std::to_string(size);
  }
  return joined;
}

LayerCase linear_case(const Shape& shape, std::int64_t outputs, bool has_bias) {
  return {
      .name = "Linear" + text(shape) + "to" + std::to_string(outputs) + (has_bias ? "Bias" : ""),
      .input_shape = shape,
      .make =
          [=](at::ScalarType) {
            return std::make_unique<Linear>("linear", LinearOptions{.num_inputs = shape.back(),
                                                                    .num_outputs = outputs,
                                                                    .has_bias = has_bias});
          },
      .reference = linear_reference};
}

LayerCase activation_case(const Shape& shape, Activation::Function function) {
  const bool is_gelu = function == Activation::Function::Gelu;
  return {.name = (is_gelu ? "Gelu" : "Silu") + text(shape),
          .input_shape = shape,
          .make = [=](at::ScalarType) { return std::make_unique<Activation>(function); },
          .reference =
              [=](const auto&, const at::Tensor& x) {
                return is_gelu ? x * 0.5 * (1.0 + at::erf(x * std::sqrt(0.5)))
                               : x / (1.0 + at::exp(-x));
              }};
}

LayerCase norm_case(const Shape& shape) {
  return {
      .name = "RmsNorm" + text(shape),
      .input_shape = shape,
      .make =
          [=](at::ScalarType) { return std::make_unique<RmsNorm>("norm", shape.back(), kEpsilon); },
      .reference = [](const auto& values,
                      const at::Tensor& x) { return norm_reference(x, values[0], kEpsilon); }};
}

LayerCase embedding_case(const Shape& shape, std::int64_t vocabulary, std::int64_t channels) {
  return {.name = "Embedding" + text(shape) + "of" + std::to_string(vocabulary) + "x" +
                  std::to_string(channels),
          .input_shape = shape,
          .vocabulary = vocabulary,
          .make =
              [=](at::ScalarType) {
                return std::make_unique<Embedding>(
                    "embed",
                    Embedding::Options{.vocabulary = vocabulary, .num_channels = channels});
              },
          .reference = embedding_reference};
}

LayerCase feed_forward_case(const Shape& shape, std::int64_t hidden, bool has_bias = false) {
  return {
      .name =
          "FeedForward" + text(shape) + "by" + std::to_string(hidden) + (has_bias ? "Bias" : ""),
      .input_shape = shape,
      .make =
          [=](at::ScalarType) {
            return std::make_unique<FeedForward>("layer",
                                                 FeedForward::Options{.num_channels = shape.back(),
                                                                      .hidden = hidden,
                                                                      .has_bias = has_bias,
                                                                      .epsilon = kEpsilon});
          },
      .reference = [](const auto& values,
                      const at::Tensor& x) { return feed_forward_reference(values, x, kEpsilon); }};
}

LayerCase head_case(const Shape& shape, std::int64_t vocabulary) {
  const std::int64_t rows = numel(shape) / shape.back();
  return {
      .name = "Head" + text(shape) + "to" + std::to_string(vocabulary),
      .input_shape = shape,
      .make =
          [=](at::ScalarType) {
            return std::make_unique<LossAsLayer>(
                std::make_unique<LanguageModelHead>(LanguageModelHead::Options{
                    .num_channels = shape.back(), .vocabulary = vocabulary, .epsilon = kEpsilon}),
                some_targets_of_rows(vocabulary));
          },
      .reference =
          [=](const auto& values, const at::Tensor& x) {
            return head_reference(values, x, some_targets(rows, vocabulary), kEpsilon);
          }};
}

LayerCase shared_head_case(const Shape& shape, std::int64_t vocabulary) {
  const std::int64_t rows = numel(shape) / shape.back();
  return {.name = "SharedHead" + text(shape) + "to" + std::to_string(vocabulary),
          .input_shape = shape,
          .make =
              [=](at::ScalarType) {
                return std::make_unique<LossAsLayer>(
                    std::make_unique<SharedHead>("head",
                                                 SharedHead::Options{.num_channels = shape.back(),
                                                                     .vocabulary = vocabulary,
                                                                     .epsilon = kEpsilon}),
                    some_targets_of_rows(vocabulary));
              },
          .reference =
              [=](const auto& values, const at::Tensor& x) {
                return shared_head_reference(values, x, some_targets(rows, vocabulary), kEpsilon);
              }};
}

}  // namespace

at::Tensor some_targets(std::int64_t rows, std::int64_t vocabulary) {
  return Random(kSeed + 1).ids({rows}, vocabulary);
}

LossAsLayer::Targets some_targets_of_rows(std::int64_t vocabulary) {
  return [=](at::IntArrayRef input_shape) {
    return some_targets(numel(input_shape) / input_shape.back(), vocabulary);
  };
}

Shape LayerCase::grown_shape(std::int64_t growth) const {
  Shape shape = input_shape;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const bool is_fixed = fixed.empty() ? i == shape.size() - 1 && !has_ids()
                                        : std::find(fixed.begin(), fixed.end(), i) != fixed.end();
    shape[i] += is_fixed ? 0 : growth;
  }
  return shape;
}

at::Tensor LayerCase::input(at::ScalarType dtype, Random& random, std::int64_t growth) const {
  const Shape shape = grown_shape(growth);
  return has_ids() ? random.ids(shape, vocabulary) : random.normal(shape, dtype);
}

at::Tensor LayerCase::grad_output(const Layer& layer,
                                  at::ScalarType dtype,
                                  Random& random,
                                  std::int64_t growth) const {
  const auto element_bytes = static_cast<std::int64_t>(at::elementSize(dtype));
  const Shape shape = layer.describe({grown_shape(growth)}, element_bytes).shapes.front();
  return random.normal(shape, shape.empty() ? at::kDouble : dtype);
}

std::ostream& operator<<(std::ostream& out, const LayerCase& layer_case) {
  return out << layer_case.name;
}

LayerCase attention_case(const AttentionShape& shape) {
  const std::int64_t head_size =
      shape.head_size > 0 ? shape.head_size : shape.num_channels / shape.num_heads;
  return {.name = "Attention" + text({shape.num_samples, shape.length, shape.num_channels}) +
                  "Heads" + text({shape.num_heads, shape.num_key_value_heads}) +
                  (shape.head_size > 0 ? "Size" + std::to_string(shape.head_size) : "") +
                  (shape.has_input_bias ? "InputBias" : "") +
                  (shape.has_output_bias ? "OutputBias" : ""),
          .input_shape = {shape.num_samples, shape.length, shape.num_channels},
          .make =
              [=](at::ScalarType dtype) {
                return std::make_unique<Attention>(
                    "layer", Attention::Options{
                                 .num_channels = shape.num_channels,
                                 .num_heads = shape.num_heads,
                                 .num_key_value_heads = shape.num_key_value_heads,
                                 .head_size = shape.head_size,
                                 .has_input_bias = shape.has_input_bias,
                                 .has_output_bias = shape.has_output_bias,
                                 .epsilon = kEpsilon,
                                 .angles = rotary_angles(
                                     {.length = kAnglesLength, .head_size = head_size}, dtype)});
              },
          .reference =
              [=](const auto& values, const at::Tensor& x) {
                return attention_reference(values, x,
                                           {.num_heads = shape.num_heads,
                                            .num_key_value_heads = shape.num_key_value_heads,
                                            .epsilon = kEpsilon,
                                            .head_size = shape.head_size,
                                            .has_input_bias = shape.has_input_bias,
                                            .has_output_bias = shape.has_output_bias});
              }};
}

std::vector<LayerCase> linear_cases() {
  return {linear_case({4, 6}, 10, false),       linear_case({4, 6}, 10, true),
          linear_case({2, 3, 6}, 7, false),     linear_case({2, 3, 6}, 7, true),
          linear_case({2, 3, 2, 5}, 24, false), linear_case({2, 3, 2, 5}, 24, true),
          linear_case({1, 1}, 1, true),         linear_case({1, 1, 24}, 10, false),
          linear_case({3, 1, 17}, 1, true),     linear_case({40, 33}, 18, true)};
}

std::vector<LayerCase> activation_cases() {
  std::vector<LayerCase> all;
  for (const auto function : {Activation::Function::Gelu, Activation::Function::Silu}) {
    all.push_back(activation_case({4, 6}, function));
    all.push_back(activation_case({2, 3, 5, 7}, function));
    all.push_back(activation_case({1, 1}, function));
  }
  return all;
}

std::vector<LayerCase> norm_cases() {
  return {norm_case({4, 6}),    norm_case({2, 3, 10}), norm_case({2, 2, 2, 24}),
          norm_case({1, 1, 1}), norm_case({1, 1, 16}), norm_case({1, 33}),
          norm_case({70, 5})};
}

std::vector<LayerCase> embedding_cases() {
  return {embedding_case({2, 7}, 3, 6), embedding_case({3, 5}, 40, 10),
          embedding_case({1, 1}, 1, 1), embedding_case({2, 3}, 1, 24),
          embedding_case({1, 9}, 2, 17)};
}

std::vector<LayerCase> attention_cases() {
  return {
      attention_case({2, 5, 24, 4, 4}),  // num_samples, length, channels, heads, key/value heads
      attention_case({2, 5, 16, 4, 2}),         attention_case({3, 4, 8, 4, 1}),
      attention_case({2, 3, 6, 1, 1}),          attention_case({1, 1, 10, 1, 1}),
      attention_case({2, 1, 8, 2, 1}),          attention_case({1, 7, 6, 3, 1}),
      attention_case({1, 70, 8, 2, 1}),         attention_case({2, 5, 6, 4, 2, 4}),  // head size
      attention_case({2, 3, 8, 2, 1, 0, true}), attention_case({2, 3, 8, 2, 1, 6, true, true}),
  };
}

std::vector<LayerCase> feed_forward_cases() {
  return {feed_forward_case({2, 3, 6}, 7),  feed_forward_case({2, 3, 6}, 7, true),
          feed_forward_case({1, 1, 10}, 3), feed_forward_case({2, 2, 24}, 33),
          feed_forward_case({1, 35, 3}, 5), feed_forward_case({1, 1, 1}, 1)};
}

std::vector<LayerCase> head_cases() {
  return {head_case({2, 3, 6}, 5),         head_case({1, 1, 10}, 1),
          head_case({1, 1, 6}, 2),         head_case({2, 3, 24}, 33),
          head_case({1, 35, 3}, 17),       shared_head_case({2, 3, 6}, 5),
          shared_head_case({1, 1, 6}, 2),  shared_head_case({2, 3, 24}, 33),
          shared_head_case({1, 35, 3}, 17)};
}

std::vector<LayerCase> native_cases() {
  std::vector<LayerCase> all;
  for (auto cases :
       {linear_cases(), activation_cases(), norm_cases(), embedding_cases(), attention_cases(),
        feed_forward_cases(), head_cases(), bert_cases(), mamba_cases(), image_cases()}) {
    all.insert(all.end(), cases.begin(), cases.end());
  }
  return all;
}

std::vector<LayerCase> all_cases() {
  std::vector<LayerCase> all = native_cases();
  const std::vector<LayerCase> foreign = foreign_cases();
  all.insert(all.end(), foreign.begin(), foreign.end());
  return all;
}

}  // namespace halfback
