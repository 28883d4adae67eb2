#include "halfback/layers/dropout.h"

#include "halfback/base/error.h"
#include "halfback/base/keyed_random.h"
#include "halfback/kernels/rows.h"

#include <ATen/ops/empty_like.h>
#include <fmt/format.h>

namespace halfback {

Dropout::Dropout(const DropoutOptions& options) : options_(options) {
  if (!(options.probability >= 0.0 && options.probability < 1.0)) {
    throw ConfigError(
        fmt::format("model: --dropout is {}; expected 0 to below 1", options.probability));
  }
}

at::Tensor Dropout::masked(const at::Tensor& tensor, const Call& call) const {
  if (!call.is_training || options_.probability == 0.0) {
    return tensor;
  }
  at::Tensor output = at::empty_like(tensor);
  kernels::dropout(tensor,
                   {.key = keyed_hash(Purpose::Dropout, {call.key, options_.site}),
                    .probability = options_.probability},
                   output);
  return output;
}

at::Tensor Dropout::forward(const at::Tensor& input, Saved& /*saved*/, const Call& call) {
  return masked(input, call);
}

at::Tensor Dropout::backward_input(const at::Tensor& grad_output,
                                   Saved& /*saved*/,
                                   const Call& call) {
  return masked(grad_output, call);
}

}  // namespace halfback
