#include "halfback/layers/foreign_tensors.h"

#include "halfback/base/error.h"
#include "halfback/layers/products.h"

#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace halfback {

ForeignTensors::ForeignTensors(std::string module,
                               const std::vector<ForeignTensor>& parameters,
                               const std::vector<RunningStatistic>& statistics)
    : module_(std::move(module)) {
  for (const ForeignTensor& foreign : parameters) {
    add_parameter(foreign);
  }
  for (const RunningStatistic& foreign : statistics) {
    add_statistic(foreign);
  }
  renew_leaves();
}

void ForeignTensors::refuse(const std::string& found, const std::string& remedy) const {
  throw ConfigError(fmt::format("module {}: {}; {}", module_, found, remedy));
}

void ForeignTensors::add_parameter(const ForeignTensor& foreign) {
  const auto& [name, tensor, copy_of] = foreign;
  if (!tensor.requires_grad() || !tensor.is_leaf()) {
    refuse(fmt::format("parameter {} {}", name,
                       tensor.is_leaf() ? "requires no gradient" : "is computed from others"),
           "leave it out, as part of the function");
  }
  if (std::any_of(trained_.begin(), trained_.end(),
                  [&](const Tied& other) { return other.tensor.is_same(tensor); })) {
    refuse(fmt::format("parameter {} is there twice", name), "name each tensor once");
  }
  trained_.push_back({.tensor = tensor,
                      .parameter = std::make_unique<Parameter>(
                          Parameter{.name = copy_of.empty() ? full_name(name) : copy_of,
                                    .shape = tensor.sizes().vec(),
                                    .init = {.draw = Draw::Given},
                                    .decays = tensor.dim() > 1,
                                    .is_copy = !copy_of.empty(),
                                    .given = tensor.variable_data()})});
}

void ForeignTensors::add_statistic(const RunningStatistic& foreign) {
  statistics_.push_back(
      {.tensor = foreign.tensor,
       .parameter = std::make_unique<Parameter>(Parameter{.name = full_name(foreign.name),
                                                          .shape = foreign.tensor.sizes().vec(),
                                                          .init = {.draw = Draw::Given},
                                                          .decays = false,
                                                          .trains = false,
                                                          .given = foreign.tensor.clone()}),
       .kept = foreign.kept});
}

// The nodes of leaves depend on the leaves' type, so they are made again after a conversion.
void ForeignTensors::renew_leaves() {
  std::vector<std::string> names;
  Tensors tensors;
  for (const Tied& one : trained_) {
    names.push_back(one.parameter->name);
    tensors.push_back(one.tensor);
  }
  leaves_.emplace(module_, std::move(names), tensors);
}

std::vector<Parameter*> ForeignTensors::parameters() const {
  std::vector<Parameter*> all;
  for (const auto* const some : {&trained_, &statistics_}) {
    std::transform(some->begin(), some->end(), std::back_inserter(all),
                   [](const Tied& one) { return one.parameter.get(); });
  }
  return all;
}

at::ScalarType ForeignTensors::type() const {
  return trained_.empty() ? at::kFloat : trained_.front().tensor.scalar_type();
}

bool ForeignTensors::has_memory_of_engine() const {
  return !trained_.empty() && trained_.front().parameter->value.defined();
}

void ForeignTensors::use_memory_of_engine() {
  bool is_changed = false;
  for (Tied& one : trained_) {
    const at::Tensor& value = one.parameter->value;
    if (!value.defined() || value.const_data_ptr() == one.tensor.const_data_ptr()) {
      continue;
    }
    if (one.parameter->rounded.defined()) {
      refuse("products in a smaller type were requested, which a module does not support",
             "use --precision float32");
    }
    if (value.device() != one.tensor.device()) {
      refuse(fmt::format("the stage is on device {} and {} was made on {}", value.device().str(),
                         one.parameter->name, one.tensor.device().str()),
             "modules do not move; use --device cpu");
    }
    if (one.memory == value.const_data_ptr()) {
      refuse(one.parameter->name +
                 " was moved to other memory, as by a conversion or another pipeline of it",
             "wrap each tensor in one layer at a time, and make a new pipeline after a conversion");
    }
    const c10::InferenceMode normal(false);
    one.tensor.mutable_grad().reset();  // it is of the other memory
    one.tensor.set_data(savable(value));
    one.memory = value.const_data_ptr();
    is_changed = true;
  }
  if (is_changed) {
    convert(trained_.front().parameter->value.scalar_type());
  }
}

void ForeignTensors::convert(at::ScalarType dtype) {
  const c10::InferenceMode normal(false);
  for (auto* const some : {&trained_, &statistics_}) {
    for (Tied& one : *some) {
      if (one.tensor.is_floating_point() && one.tensor.scalar_type() != dtype) {
        one.tensor.mutable_grad().reset();
        one.tensor.set_data(one.tensor.variable_data().to(dtype));
      }
    }
  }
  renew_leaves();
}

void ForeignTensors::drop_gradients() {
  for (const Tied& one : trained_) {
    one.tensor.mutable_grad().reset();
  }
}

void ForeignTensors::add_gradients(const Tensors& gradients) {
  for (std::size_t i = 0; i < trained_.size(); ++i) {
    if (gradients[i].defined()) {
      accumulate(gradients[i], *trained_[i].parameter);
    }
  }
}

// Writes statistics without their version counters, because graphs in flight have saved but never
// read them.
void ForeignTensors::begin_statistics(bool is_training) {
  for (Tied& one : statistics_) {
    at::Tensor numbers = one.tensor.variable_data();
    if (is_training) {
      numbers.zero_();
    } else if (one.parameter->value.defined()) {
      numbers.copy_(one.parameter->value);
    }
  }
}

Tensors ForeignTensors::changes() const {
  Tensors all;
  for (const Tied& one : statistics_) {
    all.push_back(one.tensor.variable_data().clone());
  }
  return all;
}

void ForeignTensors::add_changes(const Tensors& changes) {
  for (std::size_t i = 0; i < statistics_.size(); ++i) {
    statistics_[i].parameter->value.mul_(statistics_[i].kept).add_(changes[i]);
  }
}

void ForeignTensors::show_statistics() {
  for (Tied& one : statistics_) {
    one.tensor.variable_data().copy_(one.parameter->value);
  }
}

void ForeignTensors::take_statistics() {
  const c10::InferenceMode no_graph;
  for (Tied& one : statistics_) {
    one.parameter->value.copy_(one.tensor.variable_data());
  }
}

}  // namespace halfback
