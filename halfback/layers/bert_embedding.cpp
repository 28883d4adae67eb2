#include "halfback/layers/bert_embedding.h"

#include "halfback/kernels/rows.h"
#include "halfback/layers/products.h"
#include "halfback/layers/shapes.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/stack.h>

namespace halfback {

namespace {

// Slots of Saved::until_weight.
enum { kIds, kGradOutput };

// Returns [positions, C], with sine and cosine of the same angle next to each other.
at::Tensor sinusoids(std::int64_t positions, std::int64_t channels, at::ScalarType dtype) {
  const at::TensorOptions exact(at::kDouble);
  const at::Tensor exponents =
      at::arange((channels + 1) / 2, exact).mul(-2.0 / static_cast<double>(channels));
  const at::Tensor angles = at::outer(at::arange(positions, exact), at::pow(10000.0, exponents));
  return at::stack({angles.sin(), angles.cos()}, 2)
      .flatten(1)
      .narrow(1, 0, channels)
      .contiguous()
      .to(dtype);
}

}  // namespace

BertEmbedding::BertEmbedding(const std::string& prefix,
                             const Options& options,
                             at::ScalarType dtype)
    : options_(options) {
  const auto table = [&](const char* name, std::int64_t rows) {
    return Parameter{.name = prefix + "." + name + ".weight",
                     .shape = {rows, options.num_channels},
                     .init = {.standard_deviation = options.standard_deviation}};
  };
  words_ = table("word_embeddings", options.vocabulary);
  positions_ = table("position_embeddings", options.num_positions);
  segments_ = table("token_type_embeddings", options.num_segments);
  if (options.has_sinusoid_positions) {
    sinusoids_ = sinusoids(options.num_positions, options.num_channels, dtype);
  }
}

std::vector<Parameter*> BertEmbedding::parameters() {
  return sinusoids_.defined() ? std::vector{&words_, &segments_}
                              : std::vector{&words_, &positions_, &segments_};
}

std::vector<at::Tensor*> BertEmbedding::buffers() {
  return sinusoids_.defined() ? std::vector{&sinusoids_} : std::vector<at::Tensor*>();
}

at::Tensor BertEmbedding::forward(const at::Tensor& ids, Saved& saved, const Call& /*call*/) {
  saved.until_weight = {ids};
  at::Tensor output =
      at::index_select(words_.value, 0, ids.flatten()).view(output_shape(ids.sizes().vec()));
  const at::Tensor& positions = sinusoids_.defined() ? sinusoids_ : positions_.value;
  output.add_(positions.narrow(0, 0, ids.size(1)));
  return output.add_(segments_.value[0]);
}

at::Tensor BertEmbedding::backward_input(const at::Tensor& grad_output,
                                         Saved& saved,
                                         const Call& /*call*/) {
  saved.until_weight.push_back(grad_output);
  return {};
}

void BertEmbedding::backward_weight(std::span<Saved*> saved) {
  for (Saved* const one : saved) {
    const at::Tensor gradient = one->until_weight[kGradOutput];
    start_gradient(words_);
    kernels::accumulate_rows(one->until_weight[kIds], gradient, words_.gradient);
    if (!sinusoids_.defined()) {
      start_gradient(positions_);
      positions_.gradient.narrow(0, 0, gradient.size(1)).add_(gradient.sum(0));
    }
    start_gradient(segments_);
    segments_.gradient[0].add_(as_rows(gradient).sum(0));
    one->until_weight.clear();
  }
}

SavedBytes BertEmbedding::saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const {
  return {.gradients = numel(output_shape(input_shape)) * element_bytes};
}

Shape BertEmbedding::output_shape(const Shape& input_shape) const {
  Shape shape = input_shape;
  shape.push_back(options_.num_channels);
  return shape;
}

}  // namespace halfback
