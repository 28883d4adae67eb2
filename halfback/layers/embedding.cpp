#include "halfback/layers/embedding.h"

#include "halfback/kernels/rows.h"
#include "halfback/layers/products.h"
#include "halfback/layers/shapes.h"

#include <ATen/ops/index_select.h>

namespace halfback {

Embedding::Embedding(const std::string& name, const Options& options)
    : options_(options),
      table_{.name = name + ".weight",
             .shape = {options.vocabulary, options.num_channels},
             .init = {.standard_deviation = options.standard_deviation}} {}

at::Tensor Embedding::forward(const at::Tensor& ids, Saved& saved, const Call& /*call*/) {
  saved.until_weight = {ids};
  return at::index_select(table_.value, 0, ids.flatten()).view(output_shape(ids.sizes().vec()));
}

at::Tensor Embedding::backward_input(const at::Tensor& grad_output,
                                     Saved& saved,
                                     const Call& /*call*/) {
  saved.until_weight.push_back(grad_output);
  return {};
}

void Embedding::backward_weight(std::span<Saved*> saved) {
  for (Saved* const one : saved) {
    start_gradient(table_);
    kernels::accumulate_rows(one->until_weight[0], one->until_weight[1], table_.gradient);
    one->until_weight.clear();
  }
}

SavedBytes Embedding::saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const {
  return {.gradients = numel(output_shape(input_shape)) * element_bytes};
}

Shape Embedding::output_shape(const Shape& input_shape) const {
  Shape shape = input_shape;
  shape.push_back(options_.num_channels);
  return shape;
}

}  // namespace halfback
