// The layers of BERT, each with the same mathematics written plainly.
#include "halfback/base/keyed_random.h"
#include "halfback/layers/bert_embedding.h"
#include "halfback/layers/dropout.h"
#include "halfback/layers/gelu_feed_forward.h"
#include "halfback/layers/layer_norm.h"
#include "halfback/layers/masked_language_model_head.h"
#include "halfback/layers/masked_loss.h"
#include "halfback/layers/residual.h"
#include "halfback/layers/rms_norm.h"
#include "halfback/layers/self_attention.h"
#include "halfback/layers/shapes.h"
#include "tests/support/layer_cases.h"
#include "tests/support/layer_references.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <cmath>
#include <utility>

namespace halfback {

namespace {

using Shape = std::vector<std::int64_t>;

constexpr double kEpsilon = 0.02;
constexpr double kDropped = 0.4;

std::string text(const Shape& shape) {
  std::string joined;
  for (const std::int64_t size : shape) {
    joined += (joined.empty() ? "" : "x") + std::to_string(size);
  }
  return joined;
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const at::Tensor centered = x - at::mean(x, -1, /*keepdim=*/true);
  const at::Tensor variance = at::mean(centered * centered, -1, /*keepdim=*/true);
  return centered / at::sqrt(variance + kEpsilon) * weight + bias;
}

at::Tensor affine(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return at::matmul(x, weight.t()) + bias;
}

// The masks of a Dropout with site 3 on a Saved with key 0, element by element.
at::Tensor dropout_mask(const at::Tensor& like) {
  const std::uint64_t key = keyed_hash(Purpose::Dropout, {0, 3});
  at::Tensor mask = at::empty(like.sizes(), like.options());
  at::Tensor flat = mask.view(-1);
  for (std::int64_t i = 0; i < flat.numel(); ++i) {
    auto bits = static_cast<std::uint32_t>(key + static_cast<std::uint64_t>(i));
    bits = (bits ^ (bits >> 16)) * 0x7feb352dU;
    bits ^= static_cast<std::uint32_t>(key >> 32);
    bits = (bits ^ (bits >> 15)) * 0x846ca68bU;
    bits ^= bits >> 16;
    flat[i] = static_cast<double>(bits) / 4294967296.0 >= kDropped ? 1.0 / (1.0 - kDropped) : 0.0;
  }
  return mask;
}

std::unique_ptr<Layer> make_dropout() {
  return std::make_unique<Dropout>(DropoutOptions{.probability = kDropped, .site = 3});
}

LayerCase layer_norm_case(const Shape& shape) {
  return {.name = "LayerNorm" + text(shape),
          .input_shape = shape,
          .make =
              [=](at::ScalarType) {
                return std::make_unique<LayerNorm>("norm", shape.back(), kEpsilon);
              },
          .reference = [](const Values& values,
                          const at::Tensor& x) { return layer_norm(x, values[0], values[1]); }};
}

LayerCase dropout_case(const Shape& shape) {
  return {
      .name = "Dropout" + text(shape),
      .input_shape = shape,
      .make = [](at::ScalarType) { return make_dropout(); },
      .reference = [](const Values&, const at::Tensor& x) { return x * dropout_mask(x.detach()); }};
}

at::Tensor attention(const Values& values, const at::Tensor& x, std::int64_t num_heads) {
  const std::vector<at::Tensor> parts = affine(x, values[0], values[1]).chunk(3, -1);
  const auto heads = [&](const at::Tensor& rows) {
    return rows.view({x.size(0), x.size(1), num_heads, -1}).transpose(1, 2);
  };
  const double scale = 1.0 / std::sqrt(static_cast<double>(x.size(2) / num_heads));
  const at::Tensor scores = at::matmul(heads(parts[0]), heads(parts[1]).transpose(2, 3)) * scale;
  const at::Tensor attended = at::matmul(at::softmax(scores, -1), heads(parts[2]));
  return affine(attended.transpose(1, 2).reshape(x.sizes()), values[2], values[3]);
}

LayerCase self_attention_case(const Shape& shape, std::int64_t num_heads) {
  return {.name = "SelfAttention" + text(shape) + "Heads" + std::to_string(num_heads),
          .input_shape = shape,
          .make =
              [=](at::ScalarType) {
                return std::make_unique<SelfAttention>(
                    "layer",
                    SelfAttention::Options{.num_channels = shape.back(), .num_heads = num_heads});
              },
          .reference = [=](const Values& values,
                           const at::Tensor& x) { return attention(values, x, num_heads); }};
}

at::Tensor feed_forward(const Values& values, const at::Tensor& x) {
  return affine(at::gelu(affine(x, values[0], values[1])), values[2], values[3]);
}

LayerCase gelu_case(const Shape& shape, std::int64_t hidden) {
  return {.name = "GeluFeedForward" + text(shape) + "by" + std::to_string(hidden),
          .input_shape = shape,
          .make =
              [=](at::ScalarType) {
                return std::make_unique<GeluFeedForward>(
                    "layer",
                    GeluFeedForward::Options{.num_channels = shape.back(), .hidden = hidden});
              },
          .reference = feed_forward};
}

// A block's second half: the feed-forward with dropout, added to its input.
LayerCase residual_case(const Shape& shape, std::int64_t hidden) {
  return {
      .name = "Residual" + text(shape) + "by" + std::to_string(hidden),
      .input_shape = shape,
      .make =
          [=](at::ScalarType) {
            std::vector<std::unique_ptr<Layer>> branch;
            branch.push_back(std::make_unique<GeluFeedForward>(
                "layer", GeluFeedForward::Options{.num_channels = shape.back(), .hidden = hidden}));
            branch.push_back(make_dropout());
            return std::make_unique<Residual>(std::move(branch));
          },
      .reference =
          [](const Values& values, const at::Tensor& x) {
            const at::Tensor added = feed_forward(values, x);
            return x + added * dropout_mask(added.detach());
          }};
}

LayerCase bert_embedding_case(const Shape& shape, std::int64_t channels, bool has_sinusoids) {
  return {.name = "BertEmbedding" + text(shape) + (has_sinusoids ? "Sinusoid" : "Learned"),
          .input_shape = shape,
          .vocabulary = 5,
          .make =
              [=](at::ScalarType dtype) {
                return std::make_unique<BertEmbedding>(
                    "embeddings",
                    BertEmbedding::Options{.vocabulary = 5,
                                           .num_channels = channels,
                                           .num_positions = shape.back() + 2,
                                           .has_sinusoid_positions = has_sinusoids},
                    dtype);
              },
          .reference =
              [=](const Values& values, const at::Tensor& ids) {
                const at::Tensor sum = at::embedding(values[0], ids) + values.back()[0];
                if (!has_sinusoids) {
                  return sum + values[1].narrow(0, 0, shape.back());
                }
                at::Tensor positions = at::empty({shape.back(), channels}, at::kDouble);
                for (std::int64_t t = 0; t < shape.back(); ++t) {
                  for (std::int64_t c = 0; c < channels; ++c) {
                    const double exponent =
                        static_cast<double>(c / 2 * 2) / static_cast<double>(channels);
                    const double angle = static_cast<double>(t) / std::pow(10000.0, exponent);
                    positions[t][c] = c % 2 == 0 ? std::sin(angle) : std::cos(angle);
                  }
                }
                return sum + positions.to(sum.scalar_type());
              }};
}

// The first `masked` tokens of each sample have targets.
LayerCase masked_head_case(const Shape& shape, std::int64_t masked, bool has_rms_norm) {
  constexpr std::int64_t kVocabulary = 7;
  const auto targets = [=](at::IntArrayRef input_shape) {
    at::Tensor all = at::full({input_shape[0], input_shape[1]}, -1, at::kLong);
    all.narrow(1, 0, masked).copy_(Random(kSeed + 2).ids({input_shape[0], masked}, kVocabulary));
    return all;
  };
  const auto make_norm = [=]() -> std::unique_ptr<Norm> {
    if (has_rms_norm) {
      return std::make_unique<RmsNorm>("norm", shape.back(), kEpsilon);
    }
    return std::make_unique<LayerNorm>("norm", shape.back(), kEpsilon);
  };
  return {.name = "MaskedHead" + text(shape) + "of" + std::to_string(masked) +
                  (has_rms_norm ? "Rms" : ""),
          .input_shape = shape,
          .make =
              [=](at::ScalarType) {
                return std::make_unique<LossAsLayer>(
                    std::make_unique<MaskedLoss>(
                        std::make_unique<MaskedLanguageModelHead>(
                            "head",
                            MaskedLanguageModelHead::Options{.num_channels = shape.back(),
                                                             .vocabulary = kVocabulary,
                                                             .embedding_name = "words"},
                            make_norm()),
                        masked),
                    targets);
              },
          .reference =
              [=](const Values& values, const at::Tensor& x) {
                const at::Tensor hidden = at::gelu(affine(x, values[0], values[1]));
                const at::Tensor normed = has_rms_norm ? norm_reference(hidden, values[2], kEpsilon)
                                                       : layer_norm(hidden, values[2], values[3]);
                const at::Tensor logits = affine(normed, values[values.size() - 2], values.back());
                return at::nll_loss(at::log_softmax(logits.view({-1, kVocabulary}), 1),
                                    targets(x.sizes()).view(-1), /*weight=*/{}, at::Reduction::Sum,
                                    /*ignore_index=*/-1);
              }};
}

}  // namespace

std::vector<LayerCase> bert_cases() {
  return {layer_norm_case({4, 6}),
          layer_norm_case({2, 2, 2, 24}),
          layer_norm_case({70, 5}),
          layer_norm_case({1, 33}),
          dropout_case({3, 4, 10}),
          dropout_case({1, 1}),
          self_attention_case({2, 5, 24}, 4),
          self_attention_case({1, 1, 6}, 2),
          self_attention_case({3, 4, 7}, 1),
          self_attention_case({1, 70, 8}, 2),
          gelu_case({2, 3, 6}, 7),
          gelu_case({1, 1, 10}, 3),
          residual_case({2, 3, 6}, 9),
          bert_embedding_case({2, 7}, 6, false),
          bert_embedding_case({3, 5}, 9, true),
          bert_embedding_case({1, 1}, 4, false),
          masked_head_case({2, 5, 6}, 2, false),
          masked_head_case({3, 4, 10}, 4, true),
          masked_head_case({1, 1, 8}, 1, false)};
}

}  // namespace halfback
