#include "halfback/kernels/generic_rows.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/stack.h>

#include <optional>

namespace halfback::kernels::generic {

namespace {

constexpr std::int64_t kLow32 = 0xffffffff;

at::Tensor rows_of(const at::Tensor& tensor) { return tensor.view({-1, tensor.size(-1)}); }

at::Tensor column(const at::Tensor& tensor) { return tensor.view({-1, 1}); }

// Returns (x - mean) / deviation of every row.
at::Tensor standardized(const at::Tensor& x, const at::Tensor& moments) {
  return x.sub(moments.select(1, 0).unsqueeze(1)).mul_(moments.select(1, 1).unsqueeze(1));
}

// Returns the low 32 bits of bits x factor. A signed factor keeps products within 64 bits.
at::Tensor times(const at::Tensor& bits, std::uint32_t factor) {
  return bits.mul(static_cast<std::int64_t>(static_cast<std::int32_t>(factor)))
      .bitwise_and_(kLow32);
}

at::Tensor mixed(const at::Tensor& bits, std::int64_t shift) {
  return bits.bitwise_xor(bits.bitwise_right_shift(shift));
}

// Returns the bits of rows::drop in row_loops.cpp, as 64-bit integers that use 32 bits.
at::Tensor random_bits(std::uint64_t key, const at::Tensor& like) {
  const auto low = static_cast<std::int64_t>(key & kLow32);
  const auto high = static_cast<std::int64_t>(key >> 32U);
  at::Tensor bits = at::arange(like.numel(), like.options().dtype(at::kLong));
  bits = bits.add_(low).bitwise_and_(kLow32);
  bits = times(mixed(bits, 16), 0x7feb352dU).bitwise_xor_(high);
  bits = times(mixed(bits, 15), 0x846ca68bU);
  return mixed(bits, 16);
}

// Returns the angles of positions from `first` on, for heads [N, T, H, D/2].
at::Tensor angles_of(const at::Tensor& table, std::int64_t first, std::int64_t length) {
  return table.narrow(0, first, length).unsqueeze(1);
}

struct Halves {
  at::Tensor first;
  at::Tensor second;
};

Halves halves_of(const at::Tensor& tensor) {
  const std::int64_t half = tensor.size(-1) / 2;
  return {tensor.narrow(-1, 0, half), tensor.narrow(-1, half, half)};
}

// Writes the rotated pairs of `from`; source and target may be the same memory.
void write_rotated(const Halves& from,
                   const Halves& to,
                   const at::Tensor& cosine,
                   const at::Tensor& sine) {
  const at::Tensor first = from.first.mul(cosine).sub_(from.second.mul(sine));
  const at::Tensor second = from.second.mul(cosine).add_(from.first.mul(sine));
  to.first.copy_(first);
  to.second.copy_(second);
}

}  // namespace

void rms_norm(const at::Tensor& input,
              const at::Tensor& weight,
              double epsilon,
              at::Tensor& output,
              at::Tensor& inverse_rms) {
  const at::Tensor x = rows_of(input);
  inverse_rms.view({-1}).copy_(x.square().mean(1).add_(epsilon).rsqrt_());
  at::Tensor y = rows_of(output);
  at::mul_out(y, x, column(inverse_rms)).mul_(weight);
}

void rms_norm_backward(const RmsNormBackward& a) {
  const at::Tensor x = rows_of(a.input);
  const at::Tensor r = column(a.inverse_rms);
  at::Tensor g = rows_of(a.gradient);
  const at::Tensor normed = x.mul(r);
  a.grad_weight.copy_(g.mul(normed).sum(0));
  g.mul_(a.weight);
  const at::Tensor dot = g.mul(normed).mean(1, /*keepdim=*/true);
  g.sub_(normed.mul(dot)).mul_(r);
  if (a.residual != nullptr) {
    a.gradient.add_(*a.residual);
  }
  if (a.output != nullptr) {
    at::Tensor y = rows_of(*a.output);
    at::mul_out(y, normed, a.weight);
  }
}

void layer_norm(const LayerNorm& a) {
  const at::Tensor x = rows_of(a.input);
  const at::Tensor moments = a.moments.view({-1, 2});
  const at::Tensor mean = x.mean(1);
  moments.select(1, 0).copy_(mean);
  const at::Tensor variance = x.sub(mean.unsqueeze(1)).square_().mean(1);
  moments.select(1, 1).copy_(variance.add(a.epsilon).rsqrt_());
  rows_of(a.output).copy_(standardized(x, moments).mul_(a.weight).add_(a.bias));
}

void layer_norm_backward(const LayerNormBackward& a) {
  const at::Tensor moments = a.moments.view({-1, 2});
  const at::Tensor normed = standardized(rows_of(a.input), moments);
  at::Tensor g = rows_of(a.gradient);
  a.grad_parameters.select(0, 0).copy_(g.mul(normed).sum(0));
  a.grad_parameters.select(0, 1).copy_(g.sum(0));
  g.mul_(a.weight);
  const at::Tensor sum = g.mean(1, /*keepdim=*/true);
  const at::Tensor dot = g.mul(normed).mean(1, /*keepdim=*/true);
  g.sub_(sum).sub_(normed.mul(dot)).mul_(moments.select(1, 1).unsqueeze(1));
  if (a.residual != nullptr) {
    a.gradient.add_(*a.residual);
  }
  if (a.output != nullptr) {
    rows_of(*a.output).copy_(normed.mul(a.weight).add_(a.bias));
  }
}

void dropout(const at::Tensor& input, const DropoutDraw& draw, at::Tensor& output) {
  const at::Tensor drops =
      random_bits(draw.key, input).lt(drop_threshold(draw)).view(input.sizes());
  output.copy_(input.mul(1.0 / (1.0 - draw.probability)).masked_fill_(drops, 0));
}

void swiglu(const at::Tensor& gate_up, at::Tensor& activated) {
  const Halves in = halves_of(gate_up);
  at::mul_out(activated, at::silu(in.first), in.second);
}

void swiglu_backward(at::Tensor& gate_up, at::Tensor& activated) {
  const Halves both = halves_of(gate_up);
  const at::Tensor gate = both.first;
  const at::Tensor up = both.second;
  const at::Tensor sigmoid = gate.sigmoid();
  const at::Tensor silu = gate.mul(sigmoid);
  const at::Tensor slope = sigmoid.add(silu.mul(sigmoid.neg().add_(1)));
  const at::Tensor output = silu.mul(up);
  gate.copy_(slope.mul_(activated).mul_(up));
  at::Tensor grad_up = both.second;
  at::mul_out(grad_up, activated, silu);
  activated.copy_(output);
}

void rotate_heads(at::Tensor& heads,
                  std::int64_t num_rotated,
                  const at::Tensor& cosine,
                  const at::Tensor& sine,
                  std::int64_t first_position) {
  const Halves rotated = halves_of(heads.narrow(2, 0, num_rotated));
  write_rotated(rotated, rotated, angles_of(cosine, first_position, heads.size(1)),
                angles_of(sine, first_position, heads.size(1)));
}

void write_head_gradient(const HeadGradient& from, at::Tensor& heads) {
  const at::Tensor source = from.gradient.transpose(1, 2);
  const at::Tensor target = heads.narrow(2, from.first_head, source.size(2));
  if (from.cosine == nullptr) {
    target.copy_(source);
    return;
  }
  const std::int64_t length = heads.size(1);
  write_rotated(halves_of(source), halves_of(target), angles_of(*from.cosine, 0, length),
                angles_of(*from.sine, 0, length).neg());
}

// index_put_ sorts before it adds, so rows of one id are added in one order.
void accumulate_rows(const at::Tensor& ids, const at::Tensor& grad_output, at::Tensor& gradient) {
  gradient.index_put_({ids.flatten()}, rows_of(grad_output), /*accumulate=*/true);
}

double log_softmax_loss(at::Tensor& logits, const at::Tensor& targets) {
  const at::Tensor rows = rows_of(logits);
  rows.sub_(at::logsumexp(rows, 1, /*keepdim=*/true));
  return -rows.gather(1, column(targets)).sum(at::kDouble).item<double>();
}

void log_softmax_loss_backward(at::Tensor& log_probabilities,
                               const at::Tensor& targets,
                               double scale) {
  at::Tensor rows = rows_of(log_probabilities);
  rows.exp_().mul_(scale);
  const at::Tensor places = column(targets);
  rows.scatter_(1, places, rows.gather(1, places).sub_(scale));
}

std::int64_t count_correct(const at::Tensor& scores, const at::Tensor& targets) {
  return rows_of(scores).argmax(1).eq(targets.flatten()).sum().item<std::int64_t>();
}

std::vector<double> sums_of_squares(std::span<const at::Tensor> tensors) {
  if (tensors.empty()) {
    return {};
  }
  std::vector<at::Tensor> sums;
  sums.reserve(tensors.size());
  for (const at::Tensor& tensor : tensors) {
    sums.push_back(
        at::linalg_vector_norm(tensor, 2, std::nullopt, /*keepdim=*/false, at::kDouble).square_());
  }
  const at::Tensor all = at::stack(sums).cpu();  // one wait for all of them
  const auto* const values = all.const_data_ptr<double>();
  return {values, values + all.numel()};
}

}  // namespace halfback::kernels::generic
