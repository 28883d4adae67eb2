#include "halfback/layers/dropout.h"

#include "halfback/base/error.h"
#include "halfback/base/keyed_random.h"
#include "halfback/layers/kernels.h"

#include <ATen/ops/empty_like.h>
#include <fmt/format.h>

namespace halfback {

namespace {

constexpr std::uint64_t kDropout = 6;  // purpose, part of the key

}  // namespace

Dropout::Dropout(const DropoutOptions& options) : options_(options) {
  if (!(options.probability >= 0.0 && options.probability < 1.0)) {
    throw ConfigError(
        fmt::format("model: --dropout is {}; expected 0 to below 1", options.probability));
  }
}

at::Tensor Dropout::masked(const at::Tensor& tensor, const Saved& saved) const {
  if (!saved.is_training || options_.probability == 0.0) {
    return tensor;
  }
  at::Tensor output = at::empty_like(tensor);
  kernels::dropout(tensor,
                   {.key = keyed_hash({saved.key, kDropout, options_.site}),
                    .probability = options_.probability},
                   output);
  return output;
}

at::Tensor Dropout::forward(const at::Tensor& input, Saved& saved) { return masked(input, saved); }

at::Tensor Dropout::backward_input(const at::Tensor& grad_output, Saved& saved) {
  return masked(grad_output, saved);
}

void Dropout::backward_weight(Saved& /*saved*/) {}

SavedBytes Dropout::saved_bytes(std::span<const std::int64_t> /*input_shape*/,
                                std::int64_t /*element_bytes*/) const {
  return {};
}

std::vector<std::int64_t> Dropout::output_shape(std::span<const std::int64_t> input_shape) const {
  return {input_shape.begin(), input_shape.end()};
}

}  // namespace halfback
