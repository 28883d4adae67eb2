#include "tests/support/layer_checks.h"

#include "halfback/engine/memory.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>
#include <utility>

namespace halfback {

namespace {

constexpr double kStep = 1e-5;  // of a central difference
constexpr double kInfinity = std::numeric_limits<double>::infinity();

double largest(const at::Tensor& values) { return values.abs().max().item<double>(); }

at::Tensor leaf(const at::Tensor& value) {
  return value.is_floating_point() ? value.clone().set_requires_grad(true) : value;
}

}  // namespace

Random::Random(std::uint64_t seed) : generator_(at::detail::createCPUGenerator(seed)) {}

at::Tensor Random::normal(at::IntArrayRef shape, at::ScalarType dtype) {
  return at::randn(shape, generator_, at::TensorOptions(dtype));
}

at::Tensor Random::around_one(at::IntArrayRef shape, at::ScalarType dtype) {
  return at::rand(shape, generator_, at::TensorOptions(dtype)).add_(0.5);
}

at::Tensor Random::ids(at::IntArrayRef shape, std::int64_t vocabulary) {
  return at::randint(vocabulary, shape, generator_, at::TensorOptions(at::kLong));
}

std::vector<Parameter*> trained(const std::vector<Parameter*>& parameters) {
  std::vector<Parameter*> some;
  std::copy_if(parameters.begin(), parameters.end(), std::back_inserter(some),
               [](const Parameter* parameter) { return parameter->trains; });
  return some;
}

void give_memory(const std::vector<Parameter*>& parameters, at::ScalarType dtype, Random& random) {
  for (Parameter* parameter : parameters) {
    const bool is_matrix = parameter->shape.size() > 1;
    parameter->value = is_matrix ? random.normal(parameter->shape, dtype)
                                 : random.around_one(parameter->shape, dtype);
    if (is_matrix) {
      const std::int64_t inputs = parameter->numel() / parameter->shape.front();
      parameter->value.div_(std::sqrt(static_cast<double>(inputs)));
    }
    if (parameter->trains) {
      parameter->gradient = at::empty(parameter->shape, at::TensorOptions(dtype));
    }
  }
  forget_gradients(parameters);
}

void forget_gradients(const std::vector<Parameter*>& parameters) {
  for (Parameter* parameter : trained(parameters)) {
    parameter->gradient.fill_(std::numeric_limits<double>::quiet_NaN());
    parameter->has_gradient = false;
  }
}

std::vector<at::Tensor> copy_gradients(const std::vector<Parameter*>& parameters) {
  std::vector<at::Tensor> gradients;
  gradients.reserve(parameters.size());
  for (const Parameter* parameter : trained(parameters)) {
    gradients.push_back(parameter->gradient.clone());
  }
  return gradients;
}

LossAsLayer::LossAsLayer(std::unique_ptr<LossLayer> layer, Targets targets)
    : layer_(std::move(layer)), targets_(std::move(targets)) {}

at::Tensor LossAsLayer::forward(const at::Tensor& input, Saved& saved, const Call& call) {
  at::Tensor targets;
  {
    const MemoryOwner mini_batch(kNoRank);
    targets = targets_(input.sizes());
  }
  return at::scalar_tensor(layer_->forward(input, targets, saved, call),
                           at::TensorOptions(at::kDouble));
}

at::Tensor LossAsLayer::backward_input(const at::Tensor& grad_output,
                                       Saved& saved,
                                       const Call& call) {
  Call needed = call;
  needed.needs_input = true;  // as for every loss
  return layer_->backward_input(grad_output.item<double>(), saved, needed);
}

at::Tensor forward_of(Layer& layer, const at::Tensor& input, Saved& saved, const Call& call) {
  return layer.forward({input}, saved, call).front();
}

at::Tensor input_gradient_of(Layer& layer,
                             const at::Tensor& grad_output,
                             Saved& saved,
                             const Call& call) {
  return layer.backward_input({grad_output}, saved, call).front();
}

void weight_gradients_of(Layer& layer, Saved& saved) {
  Saved* one = &saved;
  layer.backward_weight({&one, 1});
}

Results run_layer(Layer& layer, const at::Tensor& input, const at::Tensor& grad_output) {
  forget_gradients(layer.parameters());
  Saved saved;
  Results results;
  results.output = forward_of(layer, input, saved);
  results.grad_input = input_gradient_of(layer, grad_output, saved);
  weight_gradients_of(layer, saved);
  results.grad_parameters = copy_gradients(layer.parameters());
  return results;
}

Results run_autograd(const Reference& reference,
                     const std::vector<Parameter*>& parameters,
                     const at::Tensor& input,
                     const at::Tensor& grad_output) {
  const at::Tensor x = leaf(input);
  std::vector<at::Tensor> values;
  values.reserve(parameters.size());
  for (const Parameter* parameter : trained(parameters)) {
    values.push_back(leaf(parameter->value));
  }
  const std::size_t num_trained = values.size();
  for (const Parameter* parameter : parameters) {
    if (!parameter->trains && parameter->decays) {
      values.push_back(parameter->value);
    }
  }
  const at::Tensor output = reference(values, x);
  output.backward(grad_output.to(output.scalar_type()));
  Results results{.output = output.detach(), .grad_input = x.grad(), .grad_parameters = {}};
  for (std::size_t i = 0; i < num_trained; ++i) {
    results.grad_parameters.push_back(values[i].grad());
  }
  return results;
}

at::Tensor numeric_gradient(const std::function<double()>& function, const at::Tensor& at) {
  at::Tensor gradient = at::zeros_like(at);
  auto* const values = at.mutable_data_ptr<double>();
  auto* const slopes = gradient.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < at.numel(); ++i) {
    const double value = values[i];
    values[i] = value + kStep;
    const double above = function();
    values[i] = value - kStep;
    slopes[i] = (above - function()) / (2 * kStep);
    values[i] = value;
  }
  return gradient;
}

double relative_error(const at::Tensor& actual, const at::Tensor& expected) {
  if (!actual.defined() || !expected.defined() || actual.sizes() != expected.sizes() ||
      actual.scalar_type() != expected.scalar_type() || !at::isfinite(actual).all().item<bool>()) {
    return kInfinity;
  }
  const at::Tensor exact = expected.to(at::kDouble);
  const double difference = largest(actual.to(at::kDouble).sub(exact));
  return difference == 0.0 ? 0.0 : difference / largest(exact);
}

bool same_bits(const at::Tensor& actual, const at::Tensor& expected) {
  if (actual.sizes() != expected.sizes() || actual.scalar_type() != expected.scalar_type()) {
    return false;
  }
  const at::Tensor a = actual.contiguous();
  const at::Tensor b = expected.contiguous();
  return a.numel() == 0 || std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

}  // namespace halfback
