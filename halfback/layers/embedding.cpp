#include "halfback/layers/embedding.h"

#include "halfback/layers/kernels.h"
#include "halfback/layers/products.h"
#include "halfback/layers/shapes.h"

#include <ATen/ops/index_select.h>

namespace halfback {

Embedding::Embedding(const std::string& name, const Options& options)
    : options_(options),
      table_{.name = name + ".weight",
             .shape = {options.vocabulary, options.num_channels},
             .init = {.standard_deviation = options.standard_deviation}} {}

at::Tensor Embedding::forward(const at::Tensor& ids, Saved& saved) {
  saved.until_weight = {ids};
  return at::index_select(table_.value, 0, ids.flatten()).view(output_shape(ids.sizes()));
}

at::Tensor Embedding::backward_input(const at::Tensor& grad_output, Saved& saved) {
  saved.until_weight.push_back(grad_output);
  return {};
}

void Embedding::backward_weight(Saved& saved) {
  start_gradient(table_);
  kernels::accumulate_rows(saved.until_weight[0], saved.until_weight[1], table_.gradient);
  saved.until_weight.clear();
}

SavedBytes Embedding::saved_bytes(std::span<const std::int64_t> input_shape,
                                  std::int64_t element_bytes) const {
  return {.gradients = numel(output_shape(input_shape)) * element_bytes};
}

std::vector<std::int64_t> Embedding::output_shape(std::span<const std::int64_t> input_shape) const {
  std::vector<std::int64_t> shape(input_shape.begin(), input_shape.end());
  shape.push_back(options_.num_channels);
  return shape;
}

}  // namespace halfback
