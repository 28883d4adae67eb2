#include "halfback/kernels/generic_scan.h"

#include "halfback/kernels/scan_loops.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <utility>

namespace halfback::kernels::generic {

namespace {

using rows::kScanSteps;

at::Tensor softplus(const at::Tensor& x) {
  return x.clamp_min(0).add_(x.abs().neg_().exp_().log1p_());
}

// The derivative of silu.
at::Tensor silu_slope(const at::Tensor& x) {
  const at::Tensor sigmoid = x.sigmoid();
  return sigmoid.neg().add_(1).mul_(x).add_(1).mul_(sigmoid);
}

// Runs value[t] += decay[t] value[t - 1] for ascending t along dimension 1. Overwrites both;
// returns the values.
at::Tensor solve_recurrence(at::Tensor decay, at::Tensor value) {
  const std::int64_t num_steps = value.size(1);
  for (std::int64_t reach = 1; reach < num_steps; reach *= 2) {
    const std::int64_t rest = num_steps - reach;
    const at::Tensor late = decay.narrow(1, reach, rest);
    value.narrow(1, reach, rest).add_(late.mul(value.narrow(1, 0, rest)));
    late.copy_(late.mul(decay.narrow(1, 0, rest)));
  }
  return value;
}

// One chunk of the steps of all samples. Arrays of states are [N, steps, S, E].
class Chunk {
 public:
  Chunk(const SelectiveScan& scan, std::int64_t number)
      : first_(number * kScanSteps),
        num_steps_(std::min(kScanSteps, scan.input.size(1) - first_)),
        input_(part_of(scan.input)),
        raw_step_(part_of(scan.step)),
        gate_(part_of(scan.gate)),
        to_state_(part_of(scan.to_state).unsqueeze(3)),
        from_state_(part_of(scan.from_state).unsqueeze(3)),
        rate_(scan.rate.t()),
        skip_(scan.skip),
        step_(softplus(raw_step_)),
        increment_(step_.mul(input_)),
        decay_(step_.unsqueeze(2).mul(rate_).exp_()) {}

  // Returns the state before the chunk: zero, or what forward() has left at its bound.
  static at::Tensor state_before(const SelectiveScan& scan, std::int64_t number) {
    return number > 0 ? scan.bounds.select(1, number - 1)
                      : at::zeros({scan.input.size(0), scan.rate.size(1), scan.rate.size(0)},
                                  scan.rate.options());
  }

  // Overwrites the step with the gated output, and returns the state after the last step.
  at::Tensor forward(const at::Tensor& before) const {
    const at::Tensor states = states_from(before);
    raw_step_.copy_(output_of(states).mul_(at::silu(gate_)));
    return states.select(1, num_steps_ - 1);
  }

  // Writes its part of all gradients, and adds to those of parameters. `carry` is the gradient that
  // the last state gets from the steps after the chunk. Returns the gradient of the state before
  // it.
  at::Tensor backward(const at::Tensor& before,
                      const at::Tensor& carry,
                      const SelectiveScanBackward& gradients) const {
    const std::int64_t num_states = rate_.size(0);
    const at::Tensor states = states_from(before);
    const at::Tensor output = output_of(states);
    const at::Tensor gated = part_of(gradients.gated);
    const at::Tensor g = gated.mul(at::silu(gate_));
    const at::Tensor grad_gate = silu_slope(gate_).mul_(gated).mul_(output);
    gated.copy_(output.mul(at::silu(gate_)));
    gate_.copy_(grad_gate);

    const at::Tensor grad_of_states = grad_states(g, carry);
    const at::Tensor both = part_of(gradients.grad_states);
    both.narrow(2, 0, num_states).copy_(grad_of_states.mul(increment_.unsqueeze(2)).sum(3));
    both.narrow(2, num_states, num_states).copy_(states.mul(g.unsqueeze(2)).sum(3));

    const at::Tensor grad_increment = grad_of_states.mul(to_state_).sum(2);
    at::Tensor through_decay = grad_of_states.mul(decay_);
    const at::Tensor grad_before = through_decay.select(1, 0).clone();
    through_decay.mul_(at::cat({before.unsqueeze(1), states.narrow(1, 0, num_steps_ - 1)}, 1));
    part_of(gradients.grad_input).copy_(step_.mul(grad_increment).add_(g.mul(skip_)));
    const at::Tensor grad_step = through_decay.mul(rate_).sum(2).add_(input_.mul(grad_increment));
    raw_step_.copy_(grad_step.mul_(raw_step_.sigmoid()));

    const at::Tensor& parameters = gradients.grad_parameters;
    parameters.narrow(0, 0, num_states).add_(through_decay.mul_(step_.unsqueeze(2)).sum({0, 1}));
    parameters.select(0, num_states).add_(g.mul(input_).sum({0, 1}));
    parameters.select(0, num_states + 1).add_(raw_step_.sum({0, 1}));
    return grad_before;
  }

 private:
  at::Tensor part_of(const at::Tensor& steps) const { return steps.narrow(1, first_, num_steps_); }

  at::Tensor states_from(const at::Tensor& before) const {
    const at::Tensor added = increment_.unsqueeze(2).mul(to_state_);
    added.select(1, 0).add_(decay_.select(1, 0).mul(before));
    return solve_recurrence(decay_.clone(), added);
  }

  // Returns the output without the gate.
  at::Tensor output_of(const at::Tensor& states) const {
    return states.mul(from_state_).sum(2).add_(input_.mul(skip_));
  }

  // Runs the recurrence backward: a state gets the gradient of the next one, times that one's
  // decay.
  at::Tensor grad_states(const at::Tensor& g, const at::Tensor& carry) const {
    const at::Tensor added = g.unsqueeze(2).mul(from_state_);
    added.select(1, num_steps_ - 1).add_(carry);
    // roll() moves the first decay to the last step, where it does not affect the values.
    return solve_recurrence(decay_.roll(-1, 1).flip(1), added.flip(1)).flip(1);
  }

  std::int64_t first_;
  std::int64_t num_steps_;
  at::Tensor input_;
  at::Tensor raw_step_;
  at::Tensor gate_;
  at::Tensor to_state_;
  at::Tensor from_state_;
  at::Tensor rate_;  // [S, E]
  at::Tensor skip_;
  at::Tensor step_;  // after softplus
  at::Tensor increment_;
  at::Tensor decay_;
};

// Calls visit(tap, early, late) for every tap: early() slices the input steps that the tap reads,
// late() the output steps that it adds to.
template <typename Visit>
void for_each_tap(const CausalConvolution& a, Visit visit) {
  const std::int64_t num_taps = a.weight.size(0);
  const std::int64_t num_steps = a.input.size(1);
  for (std::int64_t tap = 0; tap < num_taps; ++tap) {
    const std::int64_t delay = num_taps - 1 - tap;
    if (delay < num_steps) {
      visit(
          tap, [&](const at::Tensor& input) { return input.narrow(1, 0, num_steps - delay); },
          [&](const at::Tensor& output) { return output.narrow(1, delay, num_steps - delay); });
    }
  }
}

// The sums before silu.
at::Tensor convolve(const CausalConvolution& a) {
  at::Tensor sums = a.bias.expand(a.output.sizes()).clone(at::MemoryFormat::Contiguous);
  for_each_tap(a, [&](std::int64_t tap, auto early, auto late) {
    late(sums).add_(early(a.input).mul(a.weight[tap]));
  });
  return sums;
}

}  // namespace

void selective_scan(const SelectiveScan& scan) {
  const std::int64_t num_bounds = scan_bounds(scan.input.size(1));
  for (std::int64_t number = 0; number <= num_bounds; ++number) {
    const at::Tensor after = Chunk(scan, number).forward(Chunk::state_before(scan, number));
    if (number < num_bounds) {
      scan.bounds.select(1, number).copy_(after);
    }
  }
}

void selective_scan_backward(const SelectiveScan& scan, const SelectiveScanBackward& gradients) {
  gradients.grad_parameters.zero_();
  at::Tensor carry = Chunk::state_before(scan, 0);  // zero
  for (std::int64_t number = scan_bounds(scan.input.size(1)); number >= 0; --number) {
    carry = Chunk(scan, number).backward(Chunk::state_before(scan, number), carry, gradients);
  }
}

void causal_convolution(const CausalConvolution& a) { a.output.copy_(at::silu(convolve(a))); }

void causal_convolution_backward(const CausalConvolution& a, at::Tensor& grad_parameters) {
  const at::Tensor& g = a.output;
  g.mul_(silu_slope(convolve(a)));
  grad_parameters.zero_();
  grad_parameters.select(0, a.weight.size(0)).copy_(g.sum({0, 1}));
  for_each_tap(a, [&](std::int64_t tap, auto early, auto late) {
    grad_parameters.select(0, tap).copy_(late(g).mul(early(a.input)).sum({0, 1}));
  });
  a.input.zero_();
  for_each_tap(a, [&](std::int64_t tap, auto early, auto late) {
    early(a.input).add_(late(g).mul(a.weight[tap]));
  });
}

}  // namespace halfback::kernels::generic
