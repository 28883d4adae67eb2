#include "halfback/kernels/generic_images.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/max_pool2d_with_indices.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <utility>

namespace halfback::kernels::generic {

namespace {

constexpr std::int64_t kBitsOfByte = 8;

// Views images as [N, C, pixels], and numbers per channel so that they broadcast to those.
at::Tensor by_pixel(const at::Tensor& images) {
  return images.view({images.size(0), images.size(1), -1});
}
at::Tensor by_channel(const at::Tensor& numbers) { return numbers.view({1, -1, 1}); }

at::Tensor sum_of_channels(const at::Tensor& values) {
  return values.sum({0, 2}, false, at::kDouble);
}

double values_each(const at::Tensor& images) {
  return static_cast<double>(images.numel() / std::max<std::int64_t>(1, images.size(1)));
}

at::Tensor inverse_deviation(const BatchNormTerms& terms) {
  return terms.variance.to(at::kDouble).add(terms.epsilon).rsqrt_();
}

at::Tensor scale_of(const BatchNormTerms& terms) {
  return inverse_deviation(terms).mul_(terms.weight).to(terms.weight.scalar_type());
}

at::Tensor normalized(const BatchNormTerms& terms, const at::Tensor& x) {
  return x.sub(by_channel(terms.mean))
      .mul_(by_channel(scale_of(terms)))
      .add_(by_channel(terms.bias));
}

// 1, 2, 4, ... 128: the bits of a byte, lowest first.
at::Tensor bits_of_byte(const at::Tensor& like) {
  return at::arange(kBitsOfByte, like.options().dtype(at::kLong)).exp2().to(at::kByte);
}

// Returns the values at one place of every window, as a view of padded images.
at::Tensor values_at(const at::Tensor& padded,
                     const PoolWindow& window,
                     std::int64_t place,
                     const at::Tensor& output) {
  const auto positions = [&](std::int64_t dimension, std::int64_t first, const at::Tensor& images) {
    const std::int64_t count = output.size(dimension);
    return images.slice(dimension, first, first + (count - 1) * window.stride + 1, window.stride);
  };
  return positions(3, place % window.size, positions(2, place / window.size, padded));
}

}  // namespace

void channel_statistics(const at::Tensor& input, at::Tensor& mean, at::Tensor& variance) {
  const at::Tensor x = by_pixel(input);
  const double count = values_each(input);
  mean.copy_(sum_of_channels(x).div_(count));
  const at::Tensor distance = x.sub(by_channel(mean)).to(at::kDouble);
  variance.copy_(sum_of_channels(distance.square()).div_(count));
}

void batch_norm(const BatchNormTerms& terms, const at::Tensor& input, at::Tensor& output) {
  at::Tensor y = normalized(terms, by_pixel(input));
  if (terms.has_relu) {
    y.masked_fill_(y.le(0), 0);
  }
  by_pixel(output).copy_(y);
}

void batch_norm_backward(const BatchNormTerms& terms, const BatchNormBackward& a) {
  const at::Tensor x = by_pixel(a.input);
  at::Tensor g = by_pixel(a.grad_output);
  if (terms.has_relu) {
    g = g.masked_fill(normalized(terms, x).le(0), 0);
  }
  const at::ScalarType dtype = x.scalar_type();
  const at::Tensor distance = x.sub(by_channel(terms.mean));
  const at::Tensor gradient = sum_of_channels(g);
  const at::Tensor product = sum_of_channels(g.mul(distance));
  const at::Tensor inverse = inverse_deviation(terms);
  a.grad_weight.copy_(product.mul(inverse));
  a.grad_bias.copy_(gradient);
  const double count = values_each(a.input);
  const at::Tensor shift = gradient.div(count).to(dtype);
  const at::Tensor slope = product.div(count).mul_(inverse).mul_(inverse).to(dtype);
  by_pixel(a.grad_input)
      .copy_(g.sub(by_channel(shift))
                 .sub_(distance.mul(by_channel(slope)))
                 .mul_(by_channel(scale_of(terms))));
}

void relu(const at::Tensor& input, const at::Tensor& added, at::Tensor& output, at::Tensor& mask) {
  const at::Tensor value = added.defined() ? input.add(added) : input;
  const at::Tensor is_cut = value.le(0);
  output.copy_(value.masked_fill(is_cut, 0));
  at::Tensor passes = at::zeros({mask.numel() * kBitsOfByte}, mask.options());
  passes.narrow(0, 0, input.numel()).copy_(is_cut.logical_not().flatten());
  mask.copy_(passes.view({-1, kBitsOfByte}).mul_(bits_of_byte(mask)).sum(1, false, at::kByte));
}

void relu_backward(const at::Tensor& grad_output, const at::Tensor& mask, at::Tensor& grad_input) {
  const at::Tensor is_cut = mask.unsqueeze(1)
                                .bitwise_and(bits_of_byte(mask))
                                .eq(0)
                                .flatten()
                                .narrow(0, 0, grad_output.numel())
                                .view(grad_output.sizes());
  grad_input.copy_(grad_output.masked_fill(is_cut, 0));
}

void max_pool(const PoolWindow& window,
              const at::Tensor& input,
              at::Tensor& output,
              at::Tensor& places) {
  const auto [largest, pixels] =
      at::max_pool2d_with_indices(input, window.size, window.stride, window.padding);
  output.copy_(largest);
  // Pixels are numbered within their image; places count from the start of the window.
  const auto first_of = [&](std::int64_t dimension) {
    return at::arange(output.size(dimension), pixels.options())
        .mul_(window.stride)
        .sub_(window.padding);
  };
  const std::int64_t width = input.size(3);
  const at::Tensor row = pixels.floor_divide(width).sub_(first_of(2).unsqueeze(1));
  const at::Tensor column = pixels.remainder(width).sub_(first_of(3));
  places.copy_(row.mul(window.size).add_(column));
}

// Goes place by place, so that no operator adds two gradients to one pixel. It starts with the last
// place, so that every pixel adds up in the order of the windows.
void max_pool_backward(const PoolWindow& window,
                       const at::Tensor& grad_output,
                       const at::Tensor& places,
                       at::Tensor& grad_input) {
  const auto padded_size = [&](std::int64_t dimension) {
    const std::int64_t reached =
        (grad_output.size(dimension) - 1) * window.stride + window.size - window.padding;
    return window.padding + std::max(grad_input.size(dimension), reached);
  };
  const at::Tensor padded =
      at::zeros({grad_input.size(0), grad_input.size(1), padded_size(2), padded_size(3)},
                grad_input.options());
  for (std::int64_t place = window.size * window.size - 1; place >= 0; --place) {
    values_at(padded, window, place, grad_output)
        .add_(grad_output.masked_fill(places.ne(place), 0));
  }
  grad_input.copy_(padded.narrow(2, window.padding, grad_input.size(2))
                       .narrow(3, window.padding, grad_input.size(3)));
}

void mean_of_pixels(const at::Tensor& input, at::Tensor& output) {
  const at::Tensor pixels = by_pixel(input);
  const auto count = static_cast<double>(pixels.size(2));
  output.copy_(pixels.sum(2, false, at::kDouble).div_(count));
}

}  // namespace halfback::kernels::generic
