// halfback.torch._split: the graph of halfback/layers/autograd_graph.h for Python.
#include "halfback/base/error.h"
#include "halfback/layers/autograd_graph.h"
#include "halfback/layers/known_autograd.h"
#include "python/torch/src/calls.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <torch/csrc/utils/pybind.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace halfback {

namespace py = pybind11;

namespace {

// The parameters that a module's graphs end at.
struct Leaves {
  Leaves(std::string module, std::vector<std::string> names, Tensors parameters)
      : tensors(std::move(parameters)), leaves(std::move(module), std::move(names), tensors) {}

  Tensors tensors;
  GraphLeaves leaves;
};

// Adds a gradient as a backward does: the first becomes the parameter's, if it has the memory for
// itself.
void accumulate(at::Tensor& parameter, at::Tensor&& gradient) {
  const at::AutoGradMode no_graph(false);
  at::Tensor& sum = parameter.mutable_grad();
  torch::autograd::AccumulateGrad::accumulateGrad(
      parameter, sum, gradient, /*num_expected_refs=*/1,
      [&](at::Tensor&& first) { sum = std::move(first); });
}

// The graph of one call.
class Graph {
 public:
  explicit Graph(const Leaves& leaves) : parameters_(leaves.tensors), graph_(leaves.leaves) {}

  // Returns the inputs as tensors at which the graph begins.
  Tensors begin(const Tensors& inputs) {
    for (const at::Tensor& input : inputs) {
      entering_.push_back(input.detach());
      versions_.push_back(input._version());
    }
    graph_.begin(entering_);
    return entering_;
  }

  // Outputs without a graph are None.
  void end(const std::vector<std::optional<at::Tensor>>& outputs, AutogradGraph::Halves halves) {
    for (std::size_t i = 0; i < entering_.size(); ++i) {
      if (entering_[i]._version() != versions_[i]) {
        throw ConfigError(
            fmt::format("input {} was written to, and it is not the module's own; work on a copy, "
                        "or not in place",
                        i));
      }
    }
    entering_.clear();
    graph_.end(defined(outputs), halves);
  }

  Tensors backward_input(const std::vector<std::optional<at::Tensor>>& grad_outputs) {
    const Tensors arriving = defined(grad_outputs);
    const py::gil_scoped_release release;
    return graph_.backward_input(arriving);
  }

  void backward_weight() {
    const py::gil_scoped_release release;
    Tensors gradients = graph_.backward_weight();
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      if (gradients[i].defined()) {
        accumulate(parameters_[i], std::move(gradients[i]));
      }
    }
  }

 private:
  static Tensors defined(const std::vector<std::optional<at::Tensor>>& tensors) {
    Tensors result;
    for (const auto& tensor : tensors) {
      result.push_back(tensor.value_or(at::Tensor()));
    }
    return result;
  }

  Tensors parameters_;
  AutogradGraph graph_;
  Tensors entering_;
  std::vector<std::int64_t> versions_;
};

}  // namespace

PYBIND11_MODULE(_split, module) {
  register_errors();
  py::enum_<AutogradGraph::Halves>(module, "Halves")
      .value("Split", AutogradGraph::Halves::Split)
      .value("Together", AutogradGraph::Halves::Together);
  py::class_<Leaves>(module, "Leaves")
      .def(py::init<std::string, std::vector<std::string>, Tensors>());
  py::class_<Graph>(module, "Graph")
      .def(py::init<const Leaves&>())
      .def("begin", &Graph::begin)
      .def("end", &Graph::end)
      .def("backward_input", &Graph::backward_input)
      .def("backward_weight", &Graph::backward_weight);
  module.def(
      "require_known_autograd", [] { require_known_autograd(); },
      py::call_guard<py::gil_scoped_release>());
}

}  // namespace halfback
