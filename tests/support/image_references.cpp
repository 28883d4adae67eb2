#include "tests/support/image_references.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <limits>

namespace halfback {

namespace {

// [N, C, H, W] to windows [N, C, H', W', window height, window width]; a view.
at::Tensor windows_of(const at::Tensor& padded, at::IntArrayRef window, std::int64_t stride) {
  return padded.unfold(2, window[0], stride).unfold(3, window[1], stride);
}

}  // namespace

at::Tensor convolution_reference(const Values& values,
                                 const at::Tensor& x,
                                 std::int64_t stride,
                                 std::int64_t padding) {
  if (x.dim() == 3) {
    const at::Tensor padded = at::constant_pad_nd(x, {padding, padding}, 0.0);
    const at::Tensor weight = values[0];
    const at::Tensor y =
        at::einsum("nctw,ocw->not", {padded.unfold(2, weight.size(2), stride), weight});
    return values.size() > 1 ? y + values[1].view({1, -1, 1}) : y;
  }
  const at::Tensor padded = at::constant_pad_nd(x, {padding, padding, padding, padding}, 0.0);
  const at::Tensor windows = windows_of(padded, values[0].sizes().slice(2), stride);
  const at::Tensor y = at::einsum("nchwij,ocij->nohw", {windows, values[0]});
  return values.size() > 1 ? y + values[1].view({1, -1, 1, 1}) : y;
}

at::Tensor batch_norm_reference(const at::Tensor& weight,
                                const at::Tensor& bias,
                                const at::Tensor& x,
                                double epsilon) {
  const at::Tensor rows = x.transpose(0, 1).flatten(1);  // [C, values]
  const at::Tensor centered = rows - rows.mean(1, /*keepdim=*/true);
  const at::Tensor variance = (centered * centered).mean(1, /*keepdim=*/true);
  const at::Tensor y =
      centered / at::sqrt(variance + epsilon) * weight.unsqueeze(1) + bias.unsqueeze(1);
  std::vector<std::int64_t> shape = x.sizes().vec();
  std::swap(shape[0], shape[1]);
  return y.view(shape).transpose(0, 1);
}

at::Tensor max_pool_reference(const at::Tensor& x, const kernels::PoolWindow& window) {
  const std::int64_t p = window.padding;
  const at::Tensor padded =
      at::constant_pad_nd(x, {p, p, p, p}, -std::numeric_limits<double>::infinity());
  return std::get<0>(
      windows_of(padded, {window.size, window.size}, window.stride).flatten(4).max(4));
}

at::Tensor residual_reference(const Values& values,
                              const at::Tensor& x,
                              std::int64_t stride,
                              double epsilon) {
  const auto norm = [&](std::size_t i, const at::Tensor& input) {
    return batch_norm_reference(values[i], values[i + 1], input, epsilon);
  };
  const at::Tensor hidden = at::relu(norm(1, convolution_reference({values[0]}, x, stride, 1)));
  const at::Tensor main = norm(4, convolution_reference({values[3]}, hidden, 1, 1));
  const at::Tensor shortcut =
      values.size() > 6 ? norm(7, convolution_reference({values[6]}, x, stride, 0)) : x;
  return at::relu(main + shortcut);
}

at::Tensor classifier_reference(const Values& values,
                                const at::Tensor& x,
                                const at::Tensor& targets) {
  const at::Tensor logits = linear_reference(values, x);
  return at::nll_loss(at::log_softmax(logits, 1), targets, /*weight=*/{}, at::Reduction::Sum);
}

at::Tensor deviation_reference(const at::Tensor& x) {
  const at::Tensor pixels = x.flatten(2);
  const at::Tensor distances = pixels - pixels.mean(2, /*keepdim=*/true);
  return (distances.pow(2).sum(2) / (pixels.size(2) - 1)).sqrt();
}

at::Tensor similarities_reference(const at::Tensor& x) {
  const at::Tensor centered = x - x.mean(1, /*keepdim=*/true);
  const at::Tensor norms = centered.pow(2).sum(1, /*keepdim=*/true).sqrt();
  const at::Tensor rows = centered / (norms + 1e-8);
  return at::matmul(rows, rows.t()).clamp(-1, 1);
}

at::Tensor similarity_reference(const at::Tensor& x,
                                const at::Tensor& targets,
                                std::int64_t num_classes) {
  const at::Tensor classes = at::one_hot(targets, num_classes).to(x.scalar_type());
  return at::mse_loss(similarities_reference(x), similarities_reference(classes)) * x.size(0);
}

at::Tensor contrastive_reference(const at::Tensor& x, double temperature) {
  const at::Tensor rows = x / x.pow(2).sum(1, /*keepdim=*/true).sqrt();
  const at::Tensor similarities = at::matmul(rows, rows.t()) / temperature;
  const std::int64_t count = x.size(0);
  at::Tensor loss = similarities.sum() * 0.0;
  for (std::int64_t i = 0; i < count; ++i) {
    const at::Tensor others =
        at::cat({similarities[i].narrow(0, 0, i), similarities[i].narrow(0, i + 1, count - i - 1)});
    loss = loss + others.logsumexp(0) - similarities[i][(i + count / 2) % count];
  }
  return loss;
}

}  // namespace halfback
