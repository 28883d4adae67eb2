#include "halfback/kernels/images.h"

#include "halfback/kernels/generic_images.h"
#include "halfback/kernels/parallel_rows.h"
#include "halfback/kernels/row_loops.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace halfback::kernels {

namespace {

constexpr std::int64_t kGrainBytes = kGrainElements / 8;  // bytes of a mask

// The memory layout of one channel: N runs of `pixels`, one whole image apart.
struct ChannelLayout {
  explicit ChannelLayout(const at::Tensor& images)
      : num_images(images.size(0)),
        num_channels(images.size(1)),
        pixels(images.numel() / std::max<std::int64_t>(1, num_images * num_channels)) {}

  std::int64_t begin(std::int64_t image, std::int64_t channel) const {
    return (image * num_channels + channel) * pixels;
  }
  std::int64_t values_each() const { return num_images * pixels; }

  std::int64_t num_images;
  std::int64_t num_channels;
  std::int64_t pixels;
};

// Calls visit(channel) for all channels, on several threads.
template <typename Visit>
void for_each_channel(const ChannelLayout& layout, Visit visit) {
  for_each_row(layout.num_channels, layout.values_each(), visit);
}

// Adds up part(begin of run) over the images of a channel.
template <typename Part>
double sum_over_images(const ChannelLayout& layout, std::int64_t channel, Part part) {
  double total = 0.0;
  for (std::int64_t image = 0; image < layout.num_images; ++image) {
    total += part(layout.begin(image, channel));
  }
  return total;
}

template <typename Real>
double inverse_deviation(const BatchNormTerms& terms, std::int64_t channel) {
  const auto variance = static_cast<double>(terms.variance.const_data_ptr<Real>()[channel]);
  return 1.0 / std::sqrt(variance + terms.epsilon);
}

template <typename Real>
rows::NormChannel<Real> norm_channel(const BatchNormTerms& terms, std::int64_t channel) {
  const double scale = static_cast<double>(terms.weight.const_data_ptr<Real>()[channel]) *
                       inverse_deviation<Real>(terms, channel);
  return {.mean = terms.mean.const_data_ptr<Real>()[channel],
          .scale = static_cast<Real>(scale),
          .bias = terms.bias.const_data_ptr<Real>()[channel],
          .has_relu = terms.has_relu};
}

// A window's part inside an image, along one dimension.
struct Span {
  std::int64_t begin;
  std::int64_t end;
  std::int64_t first;  // start of the window, may be outside
};

Span span_of(const PoolWindow& window, std::int64_t position, std::int64_t size) {
  const std::int64_t first = position * window.stride - window.padding;
  return {.begin = std::max<std::int64_t>(0, first),
          .end = std::min(size, first + window.size),
          .first = first};
}

// One image of one channel.
struct Plane {
  std::int64_t height;
  std::int64_t width;
  std::int64_t output_height;
  std::int64_t output_width;
};

template <typename Real>
void max_pool_window(const Real* x,
                     std::int64_t width,
                     const Span& rows,
                     const Span& columns,
                     Real& y,
                     std::uint8_t& place,
                     std::int64_t window_size) {
  Real largest = -std::numeric_limits<Real>::infinity();
  std::int64_t found = (rows.begin - rows.first) * window_size + columns.begin - columns.first;
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    for (std::int64_t column = columns.begin; column < columns.end; ++column) {
      const Real value = x[row * width + column];
      if (value > largest || std::isnan(value)) {
        largest = value;
        found = (row - rows.first) * window_size + column - columns.first;
      }
    }
  }
  y = largest;
  place = static_cast<std::uint8_t>(found);
}

template <typename Real>
void max_pool_plane(
    const PoolWindow& window, const Plane& plane, const Real* x, Real* y, std::uint8_t* places) {
  for (std::int64_t row = 0; row < plane.output_height; ++row) {
    const Span rows = span_of(window, row, plane.height);
    for (std::int64_t column = 0; column < plane.output_width; ++column) {
      const std::int64_t at = row * plane.output_width + column;
      max_pool_window(x, plane.width, rows, span_of(window, column, plane.width), y[at], places[at],
                      window.size);
    }
  }
}

template <typename Real>
void max_pool_backward_plane(const PoolWindow& window,
                             const Plane& plane,
                             const Real* gradient,
                             const std::uint8_t* places,
                             Real* grad_input) {
  std::fill_n(grad_input, plane.height * plane.width, Real{0});
  for (std::int64_t row = 0; row < plane.output_height; ++row) {
    for (std::int64_t column = 0; column < plane.output_width; ++column) {
      const std::int64_t at = row * plane.output_width + column;
      const std::int64_t y = row * window.stride - window.padding + places[at] / window.size;
      const std::int64_t x = column * window.stride - window.padding + places[at] % window.size;
      grad_input[y * plane.width + x] += gradient[at];
    }
  }
}

Plane plane_of(const at::Tensor& input, const at::Tensor& output) {
  return {.height = input.size(2),
          .width = input.size(3),
          .output_height = output.size(2),
          .output_width = output.size(3)};
}

}  // namespace

void channel_statistics(const at::Tensor& input, at::Tensor& mean, at::Tensor& variance) {
  if (!input.is_cpu()) {
    return generic::channel_statistics(input, mean, variance);
  }
  const ChannelLayout layout(input);
  const auto count = static_cast<double>(layout.values_each());
  AT_DISPATCH_FLOATING_TYPES(input.scalar_type(), "channel_statistics", [&] {
    const auto* x = input.const_data_ptr<scalar_t>();
    auto* means = mean.mutable_data_ptr<scalar_t>();
    auto* variances = variance.mutable_data_ptr<scalar_t>();
    for_each_channel(layout, [&](std::int64_t channel) {
      const double total = sum_over_images(
          layout, channel, [&](std::int64_t begin) { return rows::sum(x + begin, layout.pixels); });
      const auto center = static_cast<scalar_t>(total / count);
      const double squares = sum_over_images(layout, channel, [&](std::int64_t begin) {
        return rows::squares_around(x + begin, center, layout.pixels);
      });
      means[channel] = center;
      variances[channel] = static_cast<scalar_t>(squares / count);
    });
  });
}

void batch_norm(const BatchNormTerms& terms, const at::Tensor& input, at::Tensor& output) {
  if (!input.is_cpu()) {
    return generic::batch_norm(terms, input, output);
  }
  const ChannelLayout layout(input);
  AT_DISPATCH_FLOATING_TYPES(input.scalar_type(), "batch_norm", [&] {
    const auto* x = input.const_data_ptr<scalar_t>();
    auto* y = output.mutable_data_ptr<scalar_t>();
    for_each_channel(layout, [&](std::int64_t channel) {
      const auto norm = norm_channel<scalar_t>(terms, channel);
      for (std::int64_t image = 0; image < layout.num_images; ++image) {
        const std::int64_t begin = layout.begin(image, channel);
        rows::normalize(norm, x + begin, y + begin, layout.pixels);
      }
    });
  });
}

void batch_norm_backward(const BatchNormTerms& terms, const BatchNormBackward& a) {
  if (!a.input.is_cpu()) {
    return generic::batch_norm_backward(terms, a);
  }
  const ChannelLayout layout(a.input);
  const auto count = static_cast<double>(layout.values_each());
  AT_DISPATCH_FLOATING_TYPES(a.input.scalar_type(), "batch_norm_backward", [&] {
    const auto* x = a.input.const_data_ptr<scalar_t>();
    const auto* g = a.grad_output.const_data_ptr<scalar_t>();
    auto* grad_x = a.grad_input.mutable_data_ptr<scalar_t>();
    auto* grad_weight = a.grad_weight.mutable_data_ptr<scalar_t>();
    auto* grad_bias = a.grad_bias.mutable_data_ptr<scalar_t>();
    for_each_channel(layout, [&](std::int64_t channel) {
      const auto norm = norm_channel<scalar_t>(terms, channel);
      rows::NormSums sums;
      for (std::int64_t image = 0; image < layout.num_images; ++image) {
        const std::int64_t begin = layout.begin(image, channel);
        const auto part = rows::norm_sums(norm, x + begin, g + begin, layout.pixels);
        sums.gradient += part.gradient;
        sums.product += part.product;
      }
      const double inverse = inverse_deviation<scalar_t>(terms, channel);
      grad_weight[channel] = static_cast<scalar_t>(sums.product * inverse);
      grad_bias[channel] = static_cast<scalar_t>(sums.gradient);
      const rows::NormGradient<scalar_t> gradient{
          .channel = norm,
          .shift = static_cast<scalar_t>(sums.gradient / count),
          .slope = static_cast<scalar_t>(sums.product / count * inverse * inverse)};
      for (std::int64_t image = 0; image < layout.num_images; ++image) {
        const std::int64_t begin = layout.begin(image, channel);
        rows::normalize_backward(gradient, x + begin, g + begin, grad_x + begin, layout.pixels);
      }
    });
  });
}

void relu(const at::Tensor& input, const at::Tensor& added, at::Tensor& output, at::Tensor& mask) {
  if (!input.is_cpu()) {
    return generic::relu(input, added, output, mask);
  }
  const std::int64_t count = input.numel();
  AT_DISPATCH_FLOATING_TYPES(input.scalar_type(), "relu", [&] {
    const auto* x = input.const_data_ptr<scalar_t>();
    const auto* more = added.defined() ? added.const_data_ptr<scalar_t>() : nullptr;
    auto* y = output.mutable_data_ptr<scalar_t>();
    auto* bits = mask.mutable_data_ptr<std::uint8_t>();
    at::parallel_for(0, mask_bytes(count), kGrainBytes, [&](auto begin, auto end) {
      const std::int64_t first = begin * 8;
      rows::relu(x + first, more ? more + first : nullptr, y + first, bits + begin,
                 std::min(count, end * 8) - first);
    });
  });
}

void relu_backward(const at::Tensor& grad_output, const at::Tensor& mask, at::Tensor& grad_input) {
  if (!grad_output.is_cpu()) {
    return generic::relu_backward(grad_output, mask, grad_input);
  }
  const std::int64_t count = grad_output.numel();
  const auto* bits = mask.const_data_ptr<std::uint8_t>();
  AT_DISPATCH_FLOATING_TYPES(grad_output.scalar_type(), "relu_backward", [&] {
    const auto* g = grad_output.const_data_ptr<scalar_t>();
    auto* grad_x = grad_input.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, mask_bytes(count), kGrainBytes, [&](auto begin, auto end) {
      const std::int64_t first = begin * 8;
      rows::relu_backward(g + first, bits + begin, grad_x + first,
                          std::min(count, end * 8) - first);
    });
  });
}

void max_pool(const PoolWindow& window,
              const at::Tensor& input,
              at::Tensor& output,
              at::Tensor& places) {
  if (!input.is_cpu()) {
    return generic::max_pool(window, input, output, places);
  }
  const Plane plane = plane_of(input, output);
  const std::int64_t pixels = plane.height * plane.width;
  const std::int64_t output_pixels = plane.output_height * plane.output_width;
  auto* place = places.mutable_data_ptr<std::uint8_t>();
  AT_DISPATCH_FLOATING_TYPES(input.scalar_type(), "max_pool", [&] {
    const auto* x = input.const_data_ptr<scalar_t>();
    auto* y = output.mutable_data_ptr<scalar_t>();
    for_each_row(input.size(0) * input.size(1), pixels, [&](std::int64_t i) {
      const std::int64_t at = i * output_pixels;
      max_pool_plane(window, plane, x + i * pixels, y + at, place + at);
    });
  });
}

void max_pool_backward(const PoolWindow& window,
                       const at::Tensor& grad_output,
                       const at::Tensor& places,
                       at::Tensor& grad_input) {
  if (!grad_output.is_cpu()) {
    return generic::max_pool_backward(window, grad_output, places, grad_input);
  }
  const Plane plane = plane_of(grad_input, grad_output);
  const std::int64_t pixels = plane.height * plane.width;
  const std::int64_t output_pixels = plane.output_height * plane.output_width;
  const auto* place = places.const_data_ptr<std::uint8_t>();
  AT_DISPATCH_FLOATING_TYPES(grad_output.scalar_type(), "max_pool_backward", [&] {
    const auto* g = grad_output.const_data_ptr<scalar_t>();
    auto* grad_x = grad_input.mutable_data_ptr<scalar_t>();
    const std::int64_t planes = grad_input.size(0) * grad_input.size(1);
    for_each_row(planes, pixels, [&](std::int64_t i) {
      const std::int64_t at = i * output_pixels;
      max_pool_backward_plane(window, plane, g + at, place + at, grad_x + i * pixels);
    });
  });
}

void mean_of_pixels(const at::Tensor& input, at::Tensor& output) {
  if (!input.is_cpu()) {
    return generic::mean_of_pixels(input, output);
  }
  const std::int64_t pixels = input.numel() / std::max<std::int64_t>(1, output.numel());
  AT_DISPATCH_FLOATING_TYPES(input.scalar_type(), "mean_of_pixels", [&] {
    const auto* x = input.const_data_ptr<scalar_t>();
    auto* y = output.mutable_data_ptr<scalar_t>();
    for_each_row(output.numel(), pixels, [&](std::int64_t i) {
      y[i] = static_cast<scalar_t>(rows::sum(x + i * pixels, pixels) / static_cast<double>(pixels));
    });
  });
}

}  // namespace halfback::kernels
