// A torch::nn::Module as a layer. It is only a header, because torch's headers take many seconds to
// compile: files with such modules include them already, the library does not.
//
//   struct BlockImpl : torch::nn::Module { torch::Tensor forward(const torch::Tensor& x); ... };
//   TORCH_MODULE(Block);
//   stage.add(module_layer("block", Block(64)));
//
// Parameters that require a gradient train; frozen ones are part of the function. W updates the
// running statistics of batch norms. Other buffers must not change.
#pragma once

#include "halfback/base/error.h"
#include "halfback/layers/autograd_layer.h"

#include <torch/nn/module.h>
#include <torch/nn/modules/batchnorm.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace halfback {

namespace detail {

inline std::string joined(const std::string& prefix, const std::string& name) {
  return prefix.empty() ? name : prefix + "." + name;
}

// Appends the running statistics of the module itself if it is a batch norm.
template <typename Norm>
void append_statistics(const std::string& prefix,
                       torch::nn::Module& module,
                       ForeignModule& described) {
  const auto* const norm = module.as<Norm>();
  if (norm == nullptr || !norm->is_training() || !norm->running_mean.defined()) {
    return;
  }
  const auto momentum = norm->options.momentum();
  if (!momentum) {
    throw ConfigError("module " + described.name + ": batch norm " + prefix +
                      " averages over its calls, of which there may be more than micro-batches; "
                      "give it a momentum");
  }
  const double kept = 1.0 - *momentum;
  described.statistics.push_back({joined(prefix, "running_mean"), norm->running_mean, kept});
  described.statistics.push_back({joined(prefix, "running_var"), norm->running_var, kept});
  described.statistics.push_back(
      {joined(prefix, "num_batches_tracked"), norm->num_batches_tracked, 1.0});
}

// Describes the tensors of the module; leaves it in training mode.
inline void describe_tensors(torch::nn::Module& module, ForeignModule& described) {
  module.train();
  for (const auto& item : module.named_modules()) {
    append_statistics<torch::nn::BatchNorm1d>(item.key(), *item.value(), described);
    append_statistics<torch::nn::BatchNorm2d>(item.key(), *item.value(), described);
    append_statistics<torch::nn::BatchNorm3d>(item.key(), *item.value(), described);
  }
  const auto has = [](const auto& list, const at::Tensor& tensor) {
    return std::any_of(list.begin(), list.end(),
                       [&](const auto& one) { return one.tensor.is_same(tensor); });
  };
  for (const auto& item : module.named_parameters()) {
    if (item.value().requires_grad() && !has(described.parameters, item.value())) {
      described.parameters.push_back({item.key(), item.value()});
    }
  }
  for (const auto& item : module.named_buffers()) {
    if (item.value().defined() && !has(described.statistics, item.value())) {
      described.buffers.push_back({item.key(), item.value()});
    }
  }
}

}  // namespace detail

// Makes a layer of a module (a holder or a shared pointer) and a function that calls it:
// `function(module, inputs, call)` takes and returns all tensors that travel.
template <typename Module, typename Function>
std::unique_ptr<AutogradLayer> module_layer(const std::string& name,
                                            Module module,
                                            Function function,
                                            AutogradLayer::Options options = {}) {
  ForeignModule described{.name = name, .forward = {}};
  detail::describe_tensors(*module, described);
  described.forward = [module, function](const Tensors& inputs, const Call& call) mutable {
    if (module->is_training() != call.is_training) {
      module->train(call.is_training);
    }
    return function(module, inputs, call);
  };
  return std::make_unique<AutogradLayer>(std::move(described), std::move(options));
}

// The same for a module with forward(x); side inputs are passed on.
template <typename Module>
std::unique_ptr<AutogradLayer> module_layer(const std::string& name,
                                            Module module,
                                            AutogradLayer::Options options = {}) {
  const auto function = [](Module& called, const Tensors& inputs, const Call& /*call*/) {
    Tensors outputs = inputs;
    outputs.front() = called->forward(inputs.front());
    return outputs;
  };
  return module_layer(name, std::move(module), function, std::move(options));
}

}  // namespace halfback
