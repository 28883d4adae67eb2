// Any libtorch module, a function on tensors that autograd can differentiate, as a layer.
//
//   F  runs the function with gradients on and keeps its graph (autograd_graph.h).
//   I  runs the part of the graph that leads to the input, and releases what W does not read.
//   W  runs the rest and adds the gradients, in ascending order like every layer.
//
// The engine owns values and gradients. The function's parameter tensors are moved into its memory,
// so that updates reach the function without copies. The initial values are those that the tensors
// have when the layer is made.
//
// For a torch::nn::Module see module_layer.h.
#pragma once

#include "halfback/layers/autograd_graph.h"
#include "halfback/layers/foreign_tensors.h"
#include "halfback/layers/layer.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace halfback {

struct ForeignModule {
  std::string name;  // prefix of the names of its tensors
  std::function<Tensors(const Tensors&, const Call&)> forward;
  std::vector<ForeignTensor> parameters = {};  // leaves that require a gradient
  std::vector<RunningStatistic> statistics = {};
  std::vector<ForeignTensor> buffers = {};  // the function must not change these
  // The function draws all its random numbers from Call::key. It is then not checked for draws from
  // the global generator, which other threads may use.
  bool keys_draws = false;
};

class AutogradLayer final : public Layer {
 public:
  struct Options {
    // Activations have a gradient; the data or ids of a model's first layer have none.
    enum class Input { Activations, Data, Ids } input = Input::Activations;
    // Which of the tensors that travel have a gradient: the first, or all of a floating-point type.
    enum class Gradients { First, Floating } gradients = Gradients::First;
    AutogradGraph::Halves halves = AutogradGraph::Halves::Split;
    // Makes the side inputs, if any, for an input of this shape, to count bytes.
    std::function<Tensors(at::IntArrayRef)> side_inputs = {};
  };

  // Throws ConfigError for tensors that cannot be trained, and Error for an unsupported libtorch.
  AutogradLayer(ForeignModule module, Options options);
  explicit AutogradLayer(ForeignModule module);
  ~AutogradLayer() override;

  std::vector<Parameter*> parameters() override;

  // Moves the function's parameters into the engine's memory now, and not at the next call: from
  // then on, who writes to them writes to the engine's values.
  void use_memory_of_engine();

  // Between two steps: copy the statistics that the engine owns to the function's tensors, and back
  // after somebody has changed them.
  void show_statistics();
  void take_statistics();

  // The function takes and returns all tensors that travel. Throws ConfigError for a function that
  // breaks a rule of docs/split_backward.md, "Any module".
  Tensors forward(Tensors inputs, Saved& saved, const Call& call) override;
  Tensors backward_input(Tensors grad_outputs, Saved& saved, const Call& call) override;
  void backward_weight(std::span<Saved*> saved) override;
  // One run through the graph, as a backward of libtorch is.
  Tensors backward(Tensors grad_outputs, Saved& saved, const Call& call) override;

  // Runs F and I on zeros, once for each shape, and counts the bytes. No other thread may use the
  // layer meanwhile.
  Described describe(std::vector<Shape> shapes, std::int64_t element_bytes) const override;

 private:
  class Core;
  std::unique_ptr<Core> core_;
};

}  // namespace halfback
