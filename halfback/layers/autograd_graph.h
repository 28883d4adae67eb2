// The autograd graph of one micro-batch, walked once and run in two halves. Only the source of this
// file depends on libtorch's engine and nodes.
//
// The nodes that lead to the input are the inside of the graph. Those of them that also lead to a
// parameter are the frontier.
//   I  runs the inside and catches the gradients that arrive at the frontier. Then the frontier's
//      edges into the inside are cut, and what the rest of the inside has saved is released.
//   W  runs from the frontier, which now leads only to parameters.
// A node whose only parameters are rows of numbers (dimension 1 or 0: a norm, a bias by itself) is
// run whole by I, which reads all of them anyway; their gradients wait for W.
#pragma once

#include "halfback/layers/layer.h"

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace halfback {

// Runs a small graph in both ways, once in a process. Throws an Error if I and W differ from the
// backward with this libtorch.
void require_known_autograd();

// The tensors that a module's graphs end in. All graphs of a module share them.
class GraphLeaves {
 public:
  // The tensors are leaves that require a gradient; `names` are for messages.
  GraphLeaves(std::string module, std::vector<std::string> names, const Tensors& tensors);

 private:
  friend class AutogradGraph;
  struct State;
  std::shared_ptr<const State> state_;
};

// Made before the module runs, closed after it. Calls come from one thread at a time, outside of
// inference mode.
class AutogradGraph {
 public:
  // Not split: I runs the whole backward, and the gradients of the parameters wait for W.
  enum class Halves { Split, Together };

  AutogradGraph(const GraphLeaves& leaves, Halves halves);
  AutogradGraph(const AutogradGraph&) = delete;
  AutogradGraph& operator=(const AutogradGraph&) = delete;
  ~AutogradGraph();

  // Makes the graph begin at `input`. Without it, I has no result and W does everything.
  void begin(const at::Tensor& input);

  // Walks the graph of `output`, which the caller may drop afterwards. Throws ConfigError for a
  // graph that cannot be split like this.
  void end(const at::Tensor& output);

  // I: returns the gradient of the input.
  at::Tensor backward_input(const at::Tensor& grad_output);

  // W: returns the gradients of the leaves, undefined ones where there is none. Keeps nothing.
  Tensors backward_weight();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace halfback
