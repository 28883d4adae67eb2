#include "halfback/layers/norm.h"

#include "halfback/layers/products.h"
#include "halfback/layers/shapes.h"

#include <utility>

namespace halfback {

at::Tensor Norm::forward(const at::Tensor& input, Saved& saved, const Call& /*call*/) {
  Normed normed = normalize(as_rows(input));
  saved.until_input = {input, normed.statistics};
  return normed.output.view(input.sizes());
}

at::Tensor Norm::backward_input(const at::Tensor& grad_output, Saved& saved, const Call& /*call*/) {
  Gradients gradients = backward({.rows = as_rows(saved.until_input[0]),
                                  .statistics = saved.until_input[1],
                                  .grad_output = as_rows(grad_output.clone()),
                                  .makes_output = false});
  saved.until_input.clear();
  saved.until_weight = {gradients.parameters};
  return gradients.input.view(grad_output.sizes());
}

void Norm::backward_weight(std::span<Saved*> saved) {
  for (Saved* const one : saved) {
    accumulate_gradients(std::exchange(one->until_weight, {}).front());
  }
}

SavedBytes Norm::saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const {
  const std::int64_t elements = numel(input_shape);
  const std::int64_t rows = elements / input_shape.back();
  return {.until_input = (elements + rows * num_statistics()) * element_bytes,
          .gradients = num_parameters() * input_shape.back() * element_bytes};
}

}  // namespace halfback
