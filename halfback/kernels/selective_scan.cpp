#include "halfback/kernels/selective_scan.h"

#include "halfback/kernels/generic_scan.h"
#include "halfback/kernels/row_loops.h"
#include "halfback/kernels/scan_loops.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

namespace halfback::kernels {

namespace {

using rows::kScanChannels;
using rows::kScanSteps;

constexpr std::int64_t kSliceChannels = 4 * kScanChannels;  // channels of a task

std::int64_t quotient_above(std::int64_t count, std::int64_t size) {
  return (count + size - 1) / size;
}

// Copies the columns of a tile between an array of all channels and one of kScanChannels.
template <typename Real>
struct StateCopy {
  std::int64_t num_states;
  std::int64_t num_channels;  // of the tile
  std::int64_t num_channels_all;

  void pack(const Real* all, Real* tile) const {
    for (std::int64_t s = 0; s < num_states; ++s) {
      std::copy_n(all + s * num_channels_all, num_channels, tile + s * kScanChannels);
    }
  }
  void unpack(const Real* tile, Real* all) const {
    for (std::int64_t s = 0; s < num_states; ++s) {
      std::copy_n(tile + s * kScanChannels, num_channels, all + s * num_channels_all);
    }
  }
};

// The sizes and strides of one call; a tile is kScanChannels channels of one sample.
template <typename Real>
class Scan {
 public:
  explicit Scan(const SelectiveScan& scan)
      : num_samples_(scan.input.size(0)),
        num_steps_(scan.input.size(1)),
        num_channels_(scan.input.size(2)),
        num_states_(scan.rate.size(1)),
        gate_row_(scan.gate.stride(1)),
        projected_row_(scan.to_state.stride(1)),
        input_(scan.input.const_data_ptr<Real>()),
        step_(scan.step.mutable_data_ptr<Real>()),
        gate_(scan.gate.mutable_data_ptr<Real>()),
        to_state_(scan.to_state.const_data_ptr<Real>()),
        from_state_(scan.from_state.const_data_ptr<Real>()),
        skip_(scan.skip.const_data_ptr<Real>()),
        bounds_(scan.bounds.mutable_data_ptr<Real>()),
        rate_(size(num_tiles() * num_states_ * kScanChannels)) {
    const auto* rate = scan.rate.const_data_ptr<Real>();
    for (std::int64_t channel = 0; channel < num_channels_; ++channel) {
      for (std::int64_t s = 0; s < num_states_; ++s) {
        rate_[size((channel / kScanChannels * num_states_ + s) * kScanChannels +
                   channel % kScanChannels)] = rate[channel * num_states_ + s];
      }
    }
  }

  void forward() {
    for_each_slice([this](std::int64_t sample, std::int64_t slice) {
      for_each_tile(slice, [&](std::int64_t first) { forward_tile(sample, first); });
    });
  }

  void backward(const SelectiveScanBackward& gradients);

 private:
  static std::size_t size(std::int64_t count) { return static_cast<std::size_t>(count); }
  std::int64_t num_tiles() const { return quotient_above(num_channels_, kScanChannels); }
  std::int64_t num_slices() const { return quotient_above(num_channels_, kSliceChannels); }
  std::int64_t num_chunks() const { return quotient_above(num_steps_, kScanSteps); }
  std::int64_t tile_size() const { return num_states_ * kScanChannels; }

  template <typename Function>
  void for_each_slice(Function function) const {
    at::parallel_for(0, num_samples_ * num_slices(), 1, [&](auto begin, auto end) {
      for (std::int64_t task = begin; task < end; ++task) {
        function(task / num_slices(), task % num_slices());
      }
    });
  }

  template <typename Function>
  void for_each_tile(std::int64_t slice, Function function) const {
    const std::int64_t end = std::min(num_channels_, (slice + 1) * kSliceChannels);
    for (std::int64_t first = slice * kSliceChannels; first < end; first += kScanChannels) {
      function(first);
    }
  }

  StateCopy<Real> state_copy(std::int64_t first) const {
    return {num_states_, std::min(kScanChannels, num_channels_ - first), num_channels_};
  }

  // Returns the state before chunk `chunk`, which is not the first.
  Real* bound(std::int64_t sample, std::int64_t chunk, std::int64_t first) const {
    return bounds_ + (sample * (num_chunks() - 1) + chunk - 1) * num_states_ * num_channels_ +
           first;
  }

  rows::ScanRows<Real> rows_of(std::int64_t sample,
                               std::int64_t chunk,
                               std::int64_t first,
                               Real* state) const {
    const std::int64_t row = sample * num_steps_ + chunk * kScanSteps;
    return {.input = input_ + row * num_channels_ + first,
            .step = step_ + row * num_channels_ + first,
            .gate = gate_ + row * gate_row_ + first,
            .to_state = to_state_ + row * projected_row_,
            .from_state = from_state_ + row * projected_row_,
            .rate = rate_.data() + first / kScanChannels * tile_size(),
            .skip = skip_ + first,
            .state = state,
            .row = num_channels_,
            .gate_row = gate_row_,
            .projected_row = projected_row_,
            .num_steps = std::min(kScanSteps, num_steps_ - chunk * kScanSteps),
            .num_channels = std::min(kScanChannels, num_channels_ - first),
            .num_states = num_states_};
  }

  void forward_tile(std::int64_t sample, std::int64_t first) const {
    std::vector<Real> state(size(tile_size()));
    for (std::int64_t chunk = 0; chunk < num_chunks(); ++chunk) {
      if (chunk > 0) {
        state_copy(first).unpack(state.data(), bound(sample, chunk, first));
      }
      rows::scan(rows_of(sample, chunk, first, state.data()));
    }
  }

  struct Output {
    Real* gated;
    Real* grad_input;
    Real* states;      // [slices, N x T, 2 S]
    Real* parameters;  // [N, S + 2, E]
  };
  void backward_tile(const Output& output, std::int64_t sample, std::int64_t first) const;
  void add_states(const std::vector<Real>& partial, at::Tensor& grad_states) const;
  void add_parameters(const std::vector<Real>& partial, at::Tensor& grad_parameters) const;

  std::int64_t num_samples_;
  std::int64_t num_steps_;
  std::int64_t num_channels_;
  std::int64_t num_states_;
  std::int64_t gate_row_;
  std::int64_t projected_row_;
  const Real* input_;
  Real* step_;
  Real* gate_;
  const Real* to_state_;
  const Real* from_state_;
  const Real* skip_;
  Real* bounds_;
  std::vector<Real> rate_;  // [tiles, S, kScanChannels]
};

template <typename Real>
void Scan<Real>::backward(const SelectiveScanBackward& gradients) {
  std::vector<Real> states(size(num_slices() * num_samples_ * num_steps_ * 2 * num_states_));
  std::vector<Real> parameters(size(num_samples_ * (num_states_ + 2) * num_channels_));
  const Output output{.gated = gradients.gated.mutable_data_ptr<Real>(),
                      .grad_input = gradients.grad_input.mutable_data_ptr<Real>(),
                      .states = states.data(),
                      .parameters = parameters.data()};
  for_each_slice([&](std::int64_t sample, std::int64_t slice) {
    for_each_tile(slice, [&](std::int64_t first) { backward_tile(output, sample, first); });
  });
  add_states(states, gradients.grad_states);
  add_parameters(parameters, gradients.grad_parameters);
}

template <typename Real>
void Scan<Real>::backward_tile(const Output& output,
                               std::int64_t sample,
                               std::int64_t first) const {
  const StateCopy<Real> copy = state_copy(first);
  std::vector<Real> state(size(tile_size()));
  std::vector<Real> carry(size(tile_size()));
  // Rows for the gradients of rate and skip and for the sum of step's.
  std::vector<Real> parameters(size(tile_size() + 2 * kScanChannels));
  const std::int64_t slice = first / kSliceChannels;
  for (std::int64_t chunk = num_chunks() - 1; chunk >= 0; --chunk) {
    if (chunk > 0) {
      copy.pack(bound(sample, chunk, first), state.data());
    } else {
      std::fill(state.begin(), state.end(), Real{0});
    }
    const std::int64_t row = sample * num_steps_ + chunk * kScanSteps;
    Real* const states =
        output.states + (slice * num_samples_ * num_steps_ + row) * 2 * num_states_;
    rows::scan_backward<Real>(rows_of(sample, chunk, first, state.data()),
                              {.gated = output.gated + row * num_channels_ + first,
                               .grad_input = output.grad_input + row * num_channels_ + first,
                               .grad_to_state = states,
                               .grad_from_state = states + num_states_,
                               .carry = carry.data(),
                               .grad_rate = parameters.data(),
                               .grad_skip = parameters.data() + tile_size(),
                               .grad_bias = parameters.data() + tile_size() + kScanChannels});
  }
  const StateCopy<Real> all_rows{num_states_ + 2, copy.num_channels, num_channels_};
  all_rows.unpack(parameters.data(),
                  output.parameters + sample * (num_states_ + 2) * num_channels_ + first);
}

template <typename Real>
void Scan<Real>::add_states(const std::vector<Real>& partial, at::Tensor& grad_states) const {
  const std::int64_t columns = 2 * num_states_;
  const std::int64_t num_rows = num_samples_ * num_steps_;
  const std::int64_t stride = grad_states.stride(1);
  auto* const sums = grad_states.mutable_data_ptr<Real>();
  for (std::int64_t row = 0; row < num_rows; ++row) {
    std::copy_n(partial.data() + row * columns, columns, sums + row * stride);
    for (std::int64_t slice = 1; slice < num_slices(); ++slice) {
      rows::add(partial.data() + (slice * num_rows + row) * columns, sums + row * stride, columns);
    }
  }
}

template <typename Real>
void Scan<Real>::add_parameters(const std::vector<Real>& partial,
                                at::Tensor& grad_parameters) const {
  const std::int64_t count = (num_states_ + 2) * num_channels_;
  auto* const sums = grad_parameters.mutable_data_ptr<Real>();
  std::copy_n(partial.data(), count, sums);
  for (std::int64_t sample = 1; sample < num_samples_; ++sample) {
    rows::add(partial.data() + sample * count, sums, count);
  }
}

}  // namespace

std::int64_t scan_bounds(std::int64_t num_steps) {
  return quotient_above(num_steps, kScanSteps) - 1;
}

void selective_scan(const SelectiveScan& scan) {
  if (!scan.input.is_cpu()) {
    return generic::selective_scan(scan);
  }
  AT_DISPATCH_FLOATING_TYPES(scan.input.scalar_type(), "selective_scan",
                             [&] { Scan<scalar_t>(scan).forward(); });
}

void selective_scan_backward(const SelectiveScan& scan, const SelectiveScanBackward& gradients) {
  if (!scan.input.is_cpu()) {
    return generic::selective_scan_backward(scan, gradients);
  }
  AT_DISPATCH_FLOATING_TYPES(scan.input.scalar_type(), "selective_scan_backward",
                             [&] { Scan<scalar_t>(scan).backward(gradients); });
}

}  // namespace halfback::kernels
