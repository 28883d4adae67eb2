// The autograd graph of one micro-batch, walked once and run in two halves. Only its source depends
// on libtorch's engine and nodes.
//
// The nodes that lead to the input are the inside of the graph. Inside nodes that also lead to a
// parameter are the frontier.
//   I  runs the inside and catches the gradients that arrive at the frontier. Then the frontier's
//      edges into the inside are cut, and what the rest of the inside has saved is released.
//   W  runs from the frontier, which now leads only to parameters.
// I runs a node as a whole if its only parameters have dimension 0 or 1, as in a norm or a bias: it
// reads them anyway. Their gradients wait for W.
#pragma once

#include "halfback/layers/layer.h"

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace halfback {

// Returns the same memory as a tensor that autograd can save. Tensors made in inference mode cannot
// be saved. Call it outside that mode.
at::Tensor savable(const at::Tensor& tensor);

// The tensors at which a module's graphs end. All graphs of a module share them.
class GraphLeaves {
 public:
  // The tensors are leaves that require a gradient; `names` are for messages.
  GraphLeaves(std::string module, std::vector<std::string> names, const Tensors& tensors);

 private:
  friend class AutogradGraph;
  struct State;
  std::shared_ptr<const State> state_;
};

// begin() comes before the module runs, end() after it. Calls come from one thread at a time,
// outside inference mode.
class AutogradGraph {
 public:
  // Together: I runs the whole backward, and the gradients of the parameters wait for W.
  enum class Halves { Split, Together };

  explicit AutogradGraph(const GraphLeaves& leaves);
  AutogradGraph(const AutogradGraph&) = delete;
  AutogradGraph& operator=(const AutogradGraph&) = delete;
  ~AutogradGraph();

  // Makes the graph begin at these inputs. Undefined ones have no gradient. Without any that has
  // one, W does everything.
  void begin(const Tensors& inputs);

  // Walks the graphs of the outputs, which the caller may drop afterwards. Outputs that require no
  // gradient, and undefined ones, are left out. Throws ConfigError for a graph that cannot be
  // split.
  void end(const Tensors& outputs, Halves halves = Halves::Split);

  // I: takes a gradient for each output, undefined or missing for those without one, and returns
  // that of each input: zeros if no output depends on it, and undefined if it has none.
  Tensors backward_input(const Tensors& grad_outputs);

  // Before I: has it run the whole backward, as for Halves::Together. What end() has split is then
  // one run through the graph, which is cheaper than two.
  void join_halves();

  // W: returns the gradients of the leaves, undefined where there is none. Keeps nothing.
  Tensors backward_weight();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace halfback
