#include "halfback/kernels/rows.h"

#include "halfback/kernels/generic_rows.h"
#include "halfback/kernels/parallel_rows.h"
#include "halfback/kernels/row_loops.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace halfback::kernels {

namespace {

constexpr std::int64_t kRowsPerBlock = 32;  // of a sum over rows
constexpr std::int64_t kSumBlock = 4096;    // elements

std::int64_t last_size(const at::Tensor& tensor) { return tensor.size(-1); }

std::int64_t num_rows(const at::Tensor& tensor) {
  return tensor.numel() / std::max<std::int64_t>(1, last_size(tensor));
}

// Writes to `total` the sum over rows of what add_row(row, sums) adds to `width` sums. Each block
// of rows has its own sums, which are added up in order.
struct RowSums {
  std::int64_t num_rows = 0;
  std::int64_t width = 0;
};
template <typename Real, typename AddRow>
void sum_over_rows(const RowSums& shape, at::Tensor& total, AddRow add_row) {
  const std::int64_t num_blocks = (shape.num_rows + kRowsPerBlock - 1) / kRowsPerBlock;
  std::vector<Real> partial(static_cast<std::size_t>(num_blocks * shape.width));
  for_each_row(num_blocks, kRowsPerBlock * shape.width, [&](std::int64_t block) {
    const std::int64_t last = std::min(shape.num_rows, (block + 1) * kRowsPerBlock);
    for (std::int64_t row = block * kRowsPerBlock; row < last; ++row) {
      add_row(row, partial.data() + block * shape.width);
    }
  });
  auto* sums = total.mutable_data_ptr<Real>();
  std::fill_n(sums, shape.width, Real{0});
  for (std::int64_t block = 0; block < num_blocks; ++block) {
    rows::add(partial.data() + block * shape.width, sums, shape.width);
  }
}

}  // namespace

void rms_norm(const at::Tensor& input,
              const at::Tensor& weight,
              double epsilon,
              at::Tensor& output,
              at::Tensor& inverse_rms) {
  if (!input.is_cpu()) {
    return generic::rms_norm(input, weight, epsilon, output, inverse_rms);
  }
  const std::int64_t columns = last_size(input);
  AT_DISPATCH_FLOATING_TYPES(input.scalar_type(), "rms_norm", [&] {
    const auto* x = input.const_data_ptr<scalar_t>();
    const auto* w = weight.const_data_ptr<scalar_t>();
    auto* y = output.mutable_data_ptr<scalar_t>();
    auto* r = inverse_rms.mutable_data_ptr<scalar_t>();
    for_each_row(num_rows(input), columns, [&](std::int64_t row) {
      r[row] = rows::rms_norm(x + row * columns, w, y + row * columns, columns,
                              static_cast<scalar_t>(epsilon));
    });
  });
}

void rms_norm_backward(const RmsNormBackward& a) {
  if (!a.input.is_cpu()) {
    return generic::rms_norm_backward(a);
  }
  const std::int64_t columns = last_size(a.input);
  AT_DISPATCH_FLOATING_TYPES(a.input.scalar_type(), "rms_norm_backward", [&] {
    const auto* x = a.input.const_data_ptr<scalar_t>();
    const auto* r = a.inverse_rms.const_data_ptr<scalar_t>();
    const auto* w = a.weight.const_data_ptr<scalar_t>();
    const auto* residual = a.residual ? a.residual->const_data_ptr<scalar_t>() : nullptr;
    auto* g = a.gradient.mutable_data_ptr<scalar_t>();
    auto* y = a.output ? a.output->mutable_data_ptr<scalar_t>() : nullptr;
    sum_over_rows<scalar_t>(
        {num_rows(a.input), columns}, a.grad_weight, [&](std::int64_t row, scalar_t* sums) {
          const std::int64_t at = row * columns;
          rows::rms_norm_backward<scalar_t>({.x = x + at,
                                             .weight = w,
                                             .residual = residual ? residual + at : nullptr,
                                             .gradient = g + at,
                                             .output = y ? y + at : nullptr,
                                             .grad_weight = sums,
                                             .inverse_rms = r[row],
                                             .columns = columns});
        });
  });
}

void layer_norm(const LayerNorm& a) {
  if (!a.input.is_cpu()) {
    return generic::layer_norm(a);
  }
  const std::int64_t columns = last_size(a.input);
  AT_DISPATCH_FLOATING_TYPES(a.input.scalar_type(), "layer_norm", [&] {
    const auto* x = a.input.const_data_ptr<scalar_t>();
    const auto* w = a.weight.const_data_ptr<scalar_t>();
    const auto* b = a.bias.const_data_ptr<scalar_t>();
    auto* y = a.output.mutable_data_ptr<scalar_t>();
    auto* moments = a.moments.mutable_data_ptr<scalar_t>();
    for_each_row(num_rows(a.input), columns, [&](std::int64_t row) {
      const auto found = rows::layer_norm<scalar_t>({.x = x + row * columns,
                                                     .weight = w,
                                                     .bias = b,
                                                     .output = y + row * columns,
                                                     .columns = columns,
                                                     .epsilon = static_cast<scalar_t>(a.epsilon)});
      moments[2 * row] = found.mean;
      moments[2 * row + 1] = found.inverse_deviation;
    });
  });
}

void layer_norm_backward(const LayerNormBackward& a) {
  if (!a.input.is_cpu()) {
    return generic::layer_norm_backward(a);
  }
  const std::int64_t columns = last_size(a.input);
  AT_DISPATCH_FLOATING_TYPES(a.input.scalar_type(), "layer_norm_backward", [&] {
    const auto* x = a.input.const_data_ptr<scalar_t>();
    const auto* moments = a.moments.const_data_ptr<scalar_t>();
    const auto* w = a.weight.const_data_ptr<scalar_t>();
    const auto* b = a.bias.const_data_ptr<scalar_t>();
    const auto* residual = a.residual ? a.residual->const_data_ptr<scalar_t>() : nullptr;
    auto* g = a.gradient.mutable_data_ptr<scalar_t>();
    auto* y = a.output ? a.output->mutable_data_ptr<scalar_t>() : nullptr;
    sum_over_rows<scalar_t>(
        {num_rows(a.input), 2 * columns}, a.grad_parameters, [&](std::int64_t row, scalar_t* sums) {
          const std::int64_t at = row * columns;
          rows::layer_norm_backward<scalar_t>({.x = x + at,
                                               .weight = w,
                                               .bias = b,
                                               .residual = residual ? residual + at : nullptr,
                                               .gradient = g + at,
                                               .output = y ? y + at : nullptr,
                                               .grad_weight = sums,
                                               .grad_bias = sums + columns,
                                               .moments = {moments[2 * row], moments[2 * row + 1]},
                                               .columns = columns});
        });
  });
}

std::uint32_t drop_threshold(const DropoutDraw& draw) {
  constexpr double kDraws = 4294967296.0;
  return static_cast<std::uint32_t>(draw.probability * kDraws);
}

void dropout(const at::Tensor& input, const DropoutDraw& draw, at::Tensor& output) {
  if (!input.is_cpu()) {
    return generic::dropout(input, draw, output);
  }
  const std::uint32_t threshold = drop_threshold(draw);
  AT_DISPATCH_FLOATING_TYPES(input.scalar_type(), "dropout", [&] {
    const auto* from = input.const_data_ptr<scalar_t>();
    auto* to = output.mutable_data_ptr<scalar_t>();
    const auto scale = static_cast<scalar_t>(1.0 / (1.0 - draw.probability));
    at::parallel_for(0, input.numel(), kGrainElements, [&](auto begin, auto end) {
      rows::drop<scalar_t>(from + begin, to + begin, end - begin, scale,
                           {.key = draw.key, .threshold = threshold, .first = begin});
    });
  });
}

void swiglu(const at::Tensor& gate_up, at::Tensor& activated) {
  if (!gate_up.is_cpu()) {
    return generic::swiglu(gate_up, activated);
  }
  const std::int64_t columns = last_size(activated);
  AT_DISPATCH_FLOATING_TYPES(gate_up.scalar_type(), "swiglu", [&] {
    const auto* in = gate_up.const_data_ptr<scalar_t>();
    auto* out = activated.mutable_data_ptr<scalar_t>();
    for_each_row(num_rows(activated), columns, [&](std::int64_t row) {
      const auto* gate = in + row * 2 * columns;
      rows::swiglu(gate, gate + columns, out + row * columns, columns);
    });
  });
}

void swiglu_backward(at::Tensor& gate_up, at::Tensor& activated) {
  if (!gate_up.is_cpu()) {
    return generic::swiglu_backward(gate_up, activated);
  }
  const std::int64_t columns = last_size(activated);
  AT_DISPATCH_FLOATING_TYPES(gate_up.scalar_type(), "swiglu_backward", [&] {
    auto* in = gate_up.mutable_data_ptr<scalar_t>();
    auto* out = activated.mutable_data_ptr<scalar_t>();
    for_each_row(num_rows(activated), columns, [&](std::int64_t row) {
      auto* gate = in + row * 2 * columns;
      rows::swiglu_backward(gate, gate + columns, out + row * columns, columns);
    });
  });
}

void rotate_heads(at::Tensor& heads,
                  std::int64_t num_rotated,
                  const at::Tensor& cosine,
                  const at::Tensor& sine,
                  std::int64_t first_position) {
  if (!heads.is_cpu()) {
    return generic::rotate_heads(heads, num_rotated, cosine, sine, first_position);
  }
  const std::int64_t length = heads.size(1);
  const std::int64_t num_heads = heads.size(2);
  const std::int64_t size = heads.size(3);
  AT_DISPATCH_FLOATING_TYPES(heads.scalar_type(), "rotate_heads", [&] {
    auto* x = heads.mutable_data_ptr<scalar_t>();
    const auto* c = cosine.const_data_ptr<scalar_t>();
    const auto* s = sine.const_data_ptr<scalar_t>();
    for_each_row(heads.size(0) * length, num_heads * size, [&](std::int64_t row) {
      const std::int64_t angle = (first_position + row % length) * (size / 2);
      for (std::int64_t head = 0; head < num_rotated; ++head) {
        auto* at = x + (row * num_heads + head) * size;
        rows::rotate(at, at, c + angle, s + angle, size / 2);
      }
    });
  });
}

void write_head_gradient(const HeadGradient& from, at::Tensor& heads) {
  if (!heads.is_cpu()) {
    return generic::write_head_gradient(from, heads);
  }
  const at::Tensor& gradient = from.gradient;
  const std::int64_t length = heads.size(1);
  const std::int64_t size = heads.size(3);
  AT_DISPATCH_FLOATING_TYPES(heads.scalar_type(), "write_head_gradient", [&] {
    const auto* g = gradient.const_data_ptr<scalar_t>();
    auto* x = heads.mutable_data_ptr<scalar_t>();
    const auto* c = from.cosine ? from.cosine->const_data_ptr<scalar_t>() : nullptr;
    const auto* s = from.sine ? from.sine->const_data_ptr<scalar_t>() : nullptr;
    for_each_row(heads.size(0) * length, gradient.size(1) * size, [&](std::int64_t row) {
      const std::int64_t position = row % length;
      const auto* source = g + (row / length) * gradient.stride(0) + position * gradient.stride(2);
      auto* target = x + (row * heads.size(2) + from.first_head) * size;
      for (std::int64_t head = 0; head < gradient.size(1); ++head) {
        const auto* in = source + head * gradient.stride(1);
        auto* out = target + head * size;
        if (c != nullptr) {
          rows::rotate_back(in, out, c + position * (size / 2), s + position * (size / 2),
                            size / 2);
        } else {
          std::copy_n(in, size, out);
        }
      }
    });
  });
}

void accumulate_rows(const at::Tensor& ids, const at::Tensor& grad_output, at::Tensor& gradient) {
  if (!gradient.is_cpu()) {
    return generic::accumulate_rows(ids, grad_output, gradient);
  }
  const std::int64_t columns = last_size(gradient);
  const std::int64_t count = ids.numel();
  const auto* id = ids.const_data_ptr<std::int64_t>();
  AT_DISPATCH_FLOATING_TYPES(gradient.scalar_type(), "accumulate_rows", [&] {
    const auto* g = grad_output.const_data_ptr<scalar_t>();
    auto* sums = gradient.mutable_data_ptr<scalar_t>();
    // Threads split columns, not rows, so that every row of sums has one order of additions.
    at::parallel_for(0, columns, grain_rows(count), [&](auto begin, auto end) {
      for (std::int64_t row = 0; row < count; ++row) {
        rows::add(g + row * columns + begin, sums + id[row] * columns + begin, end - begin);
      }
    });
  });
}

double log_softmax_loss(at::Tensor& logits, const at::Tensor& targets) {
  if (!logits.is_cpu()) {
    return generic::log_softmax_loss(logits, targets);
  }
  const std::int64_t columns = last_size(logits);
  const std::int64_t count = num_rows(logits);
  const auto* target = targets.const_data_ptr<std::int64_t>();
  double loss = 0.0;
  AT_DISPATCH_FLOATING_TYPES(logits.scalar_type(), "log_softmax_loss", [&] {
    auto* x = logits.mutable_data_ptr<scalar_t>();
    for_each_row(count, columns,
                 [&](std::int64_t row) { rows::log_softmax(x + row * columns, columns); });
    // One thread adds up, so that the sum has one order.
    for (std::int64_t row = 0; row < count; ++row) {
      TORCH_CHECK_INDEX(target[row] >= 0 && target[row] < columns, "target ", target[row], " of ",
                        columns, " classes");
      loss -= static_cast<double>(x[row * columns + target[row]]);
    }
  });
  return loss;
}

void log_softmax_loss_backward(at::Tensor& log_probabilities,
                               const at::Tensor& targets,
                               double scale) {
  if (!log_probabilities.is_cpu()) {
    return generic::log_softmax_loss_backward(log_probabilities, targets, scale);
  }
  const std::int64_t columns = last_size(log_probabilities);
  const auto* target = targets.const_data_ptr<std::int64_t>();
  AT_DISPATCH_FLOATING_TYPES(log_probabilities.scalar_type(), "log_softmax_loss_backward", [&] {
    auto* x = log_probabilities.mutable_data_ptr<scalar_t>();
    const auto factor = static_cast<scalar_t>(scale);
    for_each_row(num_rows(log_probabilities), columns, [&](std::int64_t row) {
      rows::scaled_exp(x + row * columns, factor, columns);
      x[row * columns + target[row]] -= factor;
    });
  });
}

std::int64_t count_correct(const at::Tensor& scores, const at::Tensor& targets) {
  if (!scores.is_cpu()) {
    return generic::count_correct(scores, targets);
  }
  const std::int64_t columns = last_size(scores);
  const auto* target = targets.const_data_ptr<std::int64_t>();
  std::int64_t correct = 0;
  AT_DISPATCH_FLOATING_TYPES(scores.scalar_type(), "count_correct", [&] {
    const auto* x = scores.const_data_ptr<scalar_t>();
    for (std::int64_t row = 0; row < num_rows(scores); ++row) {
      const auto* first = x + row * columns;
      correct += std::max_element(first, first + columns) - first == target[row] ? 1 : 0;
    }
  });
  return correct;
}

double sum_of_squares(const at::Tensor& values) {
  if (!values.is_cpu()) {
    return generic::sums_of_squares({&values, 1}).front();
  }
  if (at::isReducedFloatingType(values.scalar_type())) {
    return sum_of_squares(values.to(at::kFloat));
  }
  const std::int64_t count = values.numel();
  const std::int64_t num_blocks = (count + kSumBlock - 1) / kSumBlock;
  std::vector<double> partial(static_cast<std::size_t>(num_blocks));
  AT_DISPATCH_FLOATING_TYPES(values.scalar_type(), "sum_of_squares", [&] {
    const auto* x = values.const_data_ptr<scalar_t>();
    for_each_row(num_blocks, kSumBlock, [&](std::int64_t block) {
      const std::int64_t first = block * kSumBlock;
      partial[static_cast<std::size_t>(block)] =
          rows::sum_of_squares(x + first, std::min(kSumBlock, count - first));
    });
  });
  double total = 0.0;
  for (const double sum : partial) {
    total += sum;
  }
  return total;
}

std::vector<double> sums_of_squares(std::span<const at::Tensor> tensors) {
  if (!tensors.empty() && !tensors.front().is_cpu()) {
    return generic::sums_of_squares(tensors);
  }
  std::vector<double> sums(tensors.size());
  std::transform(tensors.begin(), tensors.end(), sums.begin(), sum_of_squares);
  return sums;
}

}  // namespace halfback::kernels
