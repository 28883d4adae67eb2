#include "halfback/engine/parameter_store.h"

#include "halfback/base/error.h"
#include "halfback/base/keyed_random.h"
#include "halfback/group/shards.h"
#include "halfback/kernels/rows.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/eq.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <utility>

namespace halfback {

namespace {

std::int64_t padded(std::int64_t elements) {
  return (elements + kElementAlignment - 1) / kElementAlignment * kElementAlignment;
}

void draw_uniform(at::Tensor& value, const Init& init, const at::Generator& generator) {
  const double half_width = std::sqrt(3.0) * init.standard_deviation;
  value.uniform_(init.mean - half_width, init.mean + half_width, generator);
}

void fill_with_logarithms(at::Tensor& value) {
  value.copy_(at::arange(1, value.size(-1) + 1, at::kDouble).log());
}

void draw_inverse_softplus(at::Tensor& value, const at::Generator& generator) {
  value.uniform_(std::log(1e-3), std::log(1e-1), generator).exp_();
  value.add_(value.neg().expm1_().neg_().log_());
}

void draw(at::Tensor& value, const Init& init, const at::Generator& generator) {
  switch (init.draw) {
    case Draw::Normal:
      value.normal_(init.mean, init.standard_deviation, generator);
      return;
    case Draw::Uniform:
      draw_uniform(value, init, generator);
      return;
    case Draw::LogOfColumn:
      fill_with_logarithms(value);
      return;
    case Draw::InverseSoftplus:
      draw_inverse_softplus(value, generator);
      return;
    case Draw::Given:  // not drawn
      return;
  }
}

}  // namespace

ParameterStore::ParameterStore(std::vector<Parameter*> parameters, const Options& options)
    : parameters_(std::move(parameters)), offsets_(parameters_.size()) {
  // Lays out the parameters that satisfy `fits`, one after the other; returns where they end.
  const auto lay_out = [this](std::int64_t begin, auto fits) {
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      if (fits(*parameters_[i])) {
        offsets_[i] = begin;
        begin += padded(parameters_[i]->numel());
      }
    }
    return begin;
  };
  num_decaying_ = lay_out(0, [](const Parameter& one) { return one.trains && one.decays; });
  const std::int64_t total =
      lay_out(num_decaying_, [](const Parameter& one) { return one.trains && !one.decays; });
  const at::TensorOptions like = at::TensorOptions(options.dtype).device(options.device);
  values_ = at::zeros({total}, like);
  gradients_ = at::zeros({total}, like);
  num_fixed_ = lay_out(0, [](const Parameter& one) { return !one.trains && one.decays; });
  statistics_ = at::zeros(
      {lay_out(num_fixed_, [](const Parameter& one) { return !one.trains && !one.decays; })}, like);
  if (options.product_dtype && *options.product_dtype != options.dtype) {
    rounded_ = at::zeros({num_decaying_ + num_fixed_}, like.dtype(*options.product_dtype));
  }
  if (options.is_pruned) {
    mask_ = at::ones({total}, like);
  }
  // Before the last group is added, as many sums are kept as `gradient_groups - 1` has binary
  // digits.
  for (int rest = options.gradient_groups - 1; rest > 0; rest /= 2) {
    spares_.push_back(at::empty_like(gradients_));
    group_bytes_ += static_cast<std::int64_t>(gradients_.nbytes());
  }
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    Parameter& one = *parameters_[i];
    one.value = view(one.trains ? values_ : statistics_, i);
    if (rounded_.defined() && one.decays) {
      one.rounded = view(one.trains ? rounded_ : rounded_.narrow(0, num_decaying_, num_fixed_), i);
    }
    if (one.trains) {
      one.gradient = view(gradients_, i);
      one.mask = mask_.defined() ? view(mask_, i) : at::Tensor();
    }
  }
}

at::Tensor ParameterStore::view(const at::Tensor& buffer, std::size_t parameter) const {
  const Parameter& one = *parameters_[parameter];
  return buffer.narrow(0, offsets_[parameter], one.numel()).view(one.shape);
}

std::int64_t ParameterStore::gradient_bytes() const {
  return static_cast<std::int64_t>(gradients_.nbytes()) + group_bytes_;
}

void ParameterStore::initialize(std::uint64_t seed, std::span<const std::uint64_t> numbers) {
  HALFBACK_CHECK(numbers.size() == parameters_.size(), "a number for each parameter");
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const Init& init = parameters_[i]->init;
    const at::Tensor& value = parameters_[i]->value;
    if (init.draw == Draw::Given) {
      HALFBACK_CHECK(parameters_[i]->given.defined(), parameters_[i]->name + " is initialized");
      value.copy_(std::exchange(parameters_[i]->given, {}));
      continue;
    }
    if (init.draw == Draw::Normal && init.standard_deviation == 0.0) {
      value.fill_(init.mean);
      continue;
    }
    auto generator = at::make_generator<at::CPUGeneratorImpl>(
        keyed_hash(Purpose::Initialization, {seed, numbers[i]}));
    at::Tensor drawn =
        value.is_cpu() ? value : at::empty(value.sizes(), value.options().device(at::kCPU));
    draw(drawn, init, generator);
    value.copy_(drawn);  // does nothing if they are the same
  }
}

void ParameterStore::round_values() {
  if (rounded_.defined()) {
    rounded_.narrow(0, 0, num_decaying_).copy_(values_.narrow(0, 0, num_decaying_));
    rounded_.narrow(0, num_decaying_, num_fixed_).copy_(statistics_.narrow(0, 0, num_fixed_));
  }
}

void ParameterStore::forget_gradients() {
  for (Parameter* const parameter : parameters_) {
    parameter->has_gradient = false;
  }
}

void ParameterStore::complete_gradients() {
  for (Parameter* const parameter : parameters_) {
    if (parameter->trains && !parameter->has_gradient) {
      parameter->gradient.zero_();
    }
  }
}

void ParameterStore::end_gradient_group(bool is_last) {
  complete_gradients();
  if (is_last) {
    // Added last, so the sum is in gradients_.
    group_sums_.add(gradients_, &spares_);
    group_sums_.finish(&spares_);
    for (Parameter* const parameter : parameters_) {
      parameter->has_gradient = parameter->trains;
    }
    return;
  }
  HALFBACK_CHECK(!spares_.empty(), "more gradient groups than were asked for");
  const at::Tensor kept = std::move(spares_.back());
  spares_.pop_back();
  kept.copy_(gradients_);
  group_sums_.add(kept, &spares_);
  forget_gradients();
}

// No product with the mask: that of a negative value would be -0.
void ParameterStore::take_mask() {
  values_.masked_fill_(at::eq(mask_, 0.0), 0.0);
  for (Parameter* const one : parameters_) {
    one->num_pruned = one->trains ? one->mask.eq(0.0).sum().item<std::int64_t>() : 0;
  }
}

void ParameterStore::prune_gradients() {
  if (mask_.defined()) {
    gradients_.mul_(mask_);
  }
}

void ParameterStore::scale_gradients(double factor) {
  if (factor != 1.0) {
    gradients_.mul_(factor);
  }
}

std::vector<double> ParameterStore::squared_gradient_norms() const {
  std::vector<std::size_t> counted;
  std::vector<at::Tensor> gradients;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (parameters_[i]->has_gradient && !parameters_[i]->is_copy) {
      counted.push_back(i);
      gradients.push_back(parameters_[i]->gradient);
    }
  }
  const std::vector<double> sums = kernels::sums_of_squares(gradients);
  std::vector<double> norms(parameters_.size(), 0.0);
  for (std::size_t i = 0; i < counted.size(); ++i) {
    norms[counted[i]] = sums[i];
  }
  return norms;
}

}  // namespace halfback
