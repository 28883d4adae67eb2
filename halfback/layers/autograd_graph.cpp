#include "halfback/layers/autograd_graph.h"

#include "halfback/base/error.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <torch/csrc/autograd/functions/tensor.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace halfback {

namespace {

using torch::autograd::AccumulateGrad;
using torch::autograd::CopySlices;
using torch::autograd::Edge;
using torch::autograd::edge_list;
using torch::autograd::Node;
using NodePtr = decltype(Edge::function);  // torch 2.13 changed the pointer type

// The node where an input enters a graph. A leaf's own node would keep the input alive with the
// graph.
struct Entry final : Node {
  torch::autograd::variable_list apply(torch::autograd::variable_list&& /*gradients*/) override {
    return {};
  }
};

template <typename Pointer, typename Made = Entry>
Pointer make_entry() {
  if constexpr (std::is_same_v<Pointer, std::shared_ptr<Node>>) {
    return std::make_shared<Made>();
  } else {
    return c10::make_intrusive<Made>();
  }
}

bool has_hooks(Node& node) {
  return !node.pre_hooks().empty() || !node.post_hooks().empty() ||
         !node.tensor_pre_hooks().empty() || !node.retains_grad_hooks().empty() ||
         node.tensor_post_acc_grad_hooks() != nullptr;
}

// Functions of users compute all their gradients at once. Those of Python, compiled modules among
// them, are PyNodes, whose type this library does not know.
bool is_custom_function(const Node& node) {
  const std::string_view type = typeid(node).name();
  return type.find("CppNode") != std::string_view::npos ||
         type.find("PyNode") != std::string_view::npos;
}

// What identifies the gradient of a leaf, to see whether it changes.
std::pair<const void*, std::uint32_t> gradient_of(const at::Tensor& leaf) {
  const at::Tensor& gradient = leaf.grad();
  return {gradient.unsafeGetTensorImpl(), gradient.defined() ? gradient._version() : 0};
}

}  // namespace

struct GraphLeaves::State {
  std::string module;
  std::vector<std::string> names;
  Tensors tensors;
  edge_list edges;
  std::unordered_map<const Node*, std::size_t> index;

  [[noreturn]] void refuse(const std::string& found, const std::string& remedy) const {
    throw ConfigError(fmt::format("module {}: {}; {}", module, found, remedy));
  }
};

at::Tensor savable(const at::Tensor& tensor) {
  return at::empty({0}, tensor.options())
      .set_(tensor.storage(), tensor.storage_offset(), tensor.sizes(), tensor.strides());
}

GraphLeaves::GraphLeaves(std::string module,
                         std::vector<std::string> names,
                         const Tensors& tensors) {
  const auto state = std::make_shared<State>();
  state->module = std::move(module);
  state->names = std::move(names);
  state->tensors = tensors;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    state->edges.push_back(torch::autograd::impl::gradient_edge(tensors[i]));
    state->index[state->edges[i].function.get()] = i;
  }
  state_ = state;
}

// What the walk from the output has found.
struct AutogradGraph::State {
  struct Found {
    NodePtr node;
    bool is_inside = false;
    bool is_frontier = false;
  };
  // A node that W starts from, and the gradients that arrive there, one for each input of the node.
  struct Start {
    NodePtr node;
    Tensors gradients;
  };

  std::shared_ptr<const GraphLeaves::State> leaves;
  Halves halves = Halves::Split;
  NodePtr entry;                                       // of all inputs with a gradient
  std::vector<bool> has_gradient;                      // by input
  edge_list roots;                                     // by output
  std::vector<Found> nodes;                            // each after the nodes that it leads to
  std::unordered_map<const Node*, std::size_t> place;  // in `nodes`
  std::vector<Start> frontier;
  std::vector<bool> is_early;  // by leaf: whether I makes its gradient
  Tensors gradients;           // of the leaves

  bool is_inside(const Edge& edge) const {
    return edge.is_valid() && nodes[place.at(edge.function.get())].is_inside;
  }
  bool is_outside(const Edge& edge) const { return edge.is_valid() && !is_inside(edge); }

  void walk();
  void add(const NodePtr& node);
  void check(Node& node) const;
  void place_halves(Found& found);
  bool runs_whole(const Node& node) const;
  void close_inside();
  void forget_nodes();
  void start_weights(const Edge& edge, const at::Tensor& gradient);
  enum class Afterwards { KeepsGraph, FreesGraph };
  Tensors run(Afterwards afterwards,
              const edge_list& from,
              const Tensors& arriving,
              const edge_list& wanted) const;
  Tensors run_inputs(Afterwards afterwards, const edge_list& from, const Tensors& arriving);
  void append_leaves(bool early, edge_list& edges) const;
  void take_gradients(bool early, Tensors::iterator found);
};

// Depth first, without recursion: graphs may be long chains.
void AutogradGraph::State::walk() {
  struct Visit {
    NodePtr node;
    std::size_t next = 0;
  };
  std::unordered_set<const Node*> seen;
  std::vector<Visit> stack;
  const auto visit = [&](const Edge& edge) {
    if (edge.is_valid() && seen.insert(edge.function.get()).second) {
      stack.push_back({edge.function});
    }
  };
  for (const Edge& root : roots) {
    visit(root);
    while (!stack.empty()) {
      Visit& top = stack.back();
      if (top.next < top.node->next_edges().size()) {
        const Edge& edge = top.node->next_edges()[top.next++];
        visit(edge);
        continue;
      }
      add(top.node);
      stack.pop_back();
    }
  }
}

void AutogradGraph::State::add(const NodePtr& node) {
  check(*node);
  const edge_list& next = node->next_edges();
  const bool leads_inside =
      std::any_of(next.begin(), next.end(), [this](const Edge& edge) { return is_inside(edge); });
  place[node.get()] = nodes.size();
  nodes.push_back({node, leads_inside || node == entry});
}

void AutogradGraph::State::check(Node& node) const {
  const auto leaf = leaves->index.find(&node);
  const bool is_leaf = leaf != leaves->index.end();
  if (node.tensor_post_acc_grad_hooks() != nullptr ||
      (halves == Halves::Split && has_hooks(node))) {
    leaves->refuse(
        fmt::format(
            "a hook on {}, which the halves of a backward would not call as a whole backward does",
            is_leaf ? "parameter " + leaves->names[leaf->second] : node.name()),
        "remove it");
  }
  if (dynamic_cast<const Entry*>(&node) != nullptr && &node != entry.get()) {
    leaves->refuse("its output depends on what it kept of an earlier call",
                   "detach what goes from one micro-batch to the next");
  }
  const auto* const accumulator = dynamic_cast<const AccumulateGrad*>(&node);
  if (accumulator != nullptr && !is_leaf) {
    leaves->refuse(fmt::format("it uses a tensor of shape [{}] that requires a gradient and is not "
                               "among its parameters",
                               fmt::join(accumulator->variable.sizes(), ", ")),
                   "register it, or let it require none");
  }
}

// If such rows have other uses too, I makes their whole gradient: it runs everything that leads to
// them.
bool AutogradGraph::State::runs_whole(const Node& node) const {
  const edge_list& next = node.next_edges();
  return std::all_of(next.begin(), next.end(), [this](const Edge& edge) {
    if (!is_outside(edge)) {
      return true;
    }
    const auto leaf = leaves->index.find(edge.function.get());
    return leaf != leaves->index.end() && leaves->tensors[leaf->second].dim() <= 1;
  });
}

// Assigns the gradients of an inside node to I or W.
void AutogradGraph::State::place_halves(Found& found) {
  const edge_list& next = found.node->next_edges();
  if (std::none_of(next.begin(), next.end(), [&](const Edge& edge) { return is_outside(edge); })) {
    return;
  }
  if (!runs_whole(*found.node)) {
    if (is_custom_function(*found.node)) {
      leaves->refuse(fmt::format("{} has gradients for the input and for parameters, and only the "
                                 "function knows which "
                                 "half makes which",
                                 found.node->name()),
                     "compute its halves together (Halves::Together)");
    }
    found.is_frontier = true;
    frontier.push_back({found.node, Tensors(found.node->num_inputs())});
    return;
  }
  for (const Edge& edge : next) {
    if (is_outside(edge)) {
      is_early[leaves->index.at(edge.function.get())] = true;
    }
  }
}

// After I: cuts the edges from the frontier to the inside, and empties the rest of the inside.
void AutogradGraph::State::close_inside() {
  for (const Start& start : frontier) {
    edge_list& next = start.node->next_edges();
    // CopySlices wraps a node, and both must have the same edges.
    auto* const slices = dynamic_cast<CopySlices*>(start.node.get());
    for (std::size_t i = 0; i < next.size(); ++i) {
      if (is_inside(next[i])) {
        next[i] = {};
        if (slices != nullptr) {
          slices->fn->next_edges()[i] = {};
        }
      }
    }
  }
  for (const Found& found : nodes) {
    if (found.is_inside && !found.is_frontier) {
      found.node->release_variables();
    }
  }
}

// W starts from an output that does not depend on the inputs, too. One tensor may be several
// outputs.
void AutogradGraph::State::start_weights(const Edge& edge, const at::Tensor& gradient) {
  auto start = std::find_if(frontier.begin(), frontier.end(),
                            [&](const Start& one) { return one.node == edge.function; });
  if (start == frontier.end()) {
    start = frontier.insert(start, {edge.function, Tensors(edge.function->num_inputs())});
  }
  at::Tensor& sum = start->gradients[edge.input_nr];
  sum = sum.defined() ? sum + gradient : gradient;
}

void AutogradGraph::State::forget_nodes() {
  roots.clear();
  nodes.clear();
  place.clear();
}

Tensors AutogradGraph::State::run(Afterwards afterwards,
                                  const edge_list& from,
                                  const Tensors& arriving,
                                  const edge_list& wanted) const {
  std::vector<std::pair<const void*, std::uint32_t>> before;
  std::transform(leaves->tensors.begin(), leaves->tensors.end(), std::back_inserter(before),
                 gradient_of);
  Tensors found = torch::autograd::Engine::get_default_engine().execute(
      from, arriving, /*keep_graph=*/afterwards == Afterwards::KeepsGraph, /*create_graph=*/false,
      /*accumulate_grad=*/false, wanted);
  // A backward inside the backward writes gradients that were not requested here.
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (gradient_of(leaves->tensors[i]) != before[i]) {
      leaves->tensors[i].mutable_grad().reset();
      leaves->refuse("its backward wrote the gradient of " + leaves->names[i] +
                         " by itself, as torch's checkpoint does, which runs a backward of its own",
                     "leave it out and use Halfback's recompute");
    }
  }
  return found;
}

void AutogradGraph::State::append_leaves(bool early, edge_list& edges) const {
  for (std::size_t i = 0; i < leaves->edges.size(); ++i) {
    if (is_early[i] == early) {
      edges.push_back(leaves->edges[i]);
    }
  }
}

void AutogradGraph::State::take_gradients(bool early, Tensors::iterator found) {
  for (std::size_t i = 0; i < leaves->edges.size(); ++i) {
    if (is_early[i] == early) {
      gradients[i] = std::move(*found++);
    }
  }
}

// Returns the gradients of the inputs, and takes those that arrive at the frontier and at early
// leaves.
Tensors AutogradGraph::State::run_inputs(Afterwards afterwards,
                                         const edge_list& from,
                                         const Tensors& arriving) {
  const std::uint32_t num_inputs = entry ? entry->num_inputs() : 0;
  edge_list wanted;
  for (std::uint32_t input = 0; input < num_inputs; ++input) {
    wanted.emplace_back(entry, input);
  }
  for (const Start& start : frontier) {
    for (std::uint32_t input = 0; input < start.node->num_inputs(); ++input) {
      wanted.emplace_back(start.node, input);
    }
  }
  append_leaves(/*early=*/true, wanted);
  Tensors result(num_inputs);
  if (!from.empty() && !wanted.empty()) {
    Tensors found = run(afterwards, from, arriving, wanted);
    auto next = found.begin() + num_inputs;
    std::move(found.begin(), next, result.begin());
    for (Start& start : frontier) {
      for (at::Tensor& gradient : start.gradients) {
        gradient = std::move(*next++);
      }
    }
    take_gradients(/*early=*/true, next);
  }
  for (std::uint32_t input = 0; input < num_inputs; ++input) {
    if (!result[input].defined()) {
      result[input] = entry->input_metadata(input).zeros_like();
    }
  }
  return result;
}

AutogradGraph::AutogradGraph(const GraphLeaves& leaves) : state_(std::make_unique<State>()) {
  state_->leaves = leaves.state_;
  state_->gradients.resize(leaves.state_->edges.size());
}

AutogradGraph::~AutogradGraph() = default;

void AutogradGraph::begin(const Tensors& inputs) {
  for (at::Tensor input : inputs) {
    state_->has_gradient.push_back(input.defined());
    if (input.defined()) {
      if (!state_->entry) {
        state_->entry = make_entry<NodePtr>();
      }
      torch::autograd::create_gradient_edge(input, state_->entry);
    }
  }
}

void AutogradGraph::end(const Tensors& outputs, Halves halves) {
  State& state = *state_;
  state.halves = state.entry ? halves : Halves::Split;
  state.is_early.assign(state.gradients.size(), state.halves == Halves::Together);
  for (const at::Tensor& output : outputs) {
    const bool has_graph = output.defined() && output.requires_grad();
    state.roots.push_back(has_graph ? torch::autograd::impl::gradient_edge(output) : Edge());
  }
  state.walk();
  if (!state.entry) {
    return;
  }
  if (std::none_of(state.roots.begin(), state.roots.end(),
                   [&](const Edge& root) { return state.is_inside(root); })) {
    state.leaves->refuse("no gradient leads from its output to its input",
                         "if it is the first of a model, say that its input is data or ids");
  }
  if (state.halves == Halves::Split) {
    for (State::Found& found : state.nodes) {
      if (found.is_inside) {
        state.place_halves(found);
      }
    }
  }
}

Tensors AutogradGraph::backward_input(const Tensors& grad_outputs) {
  State& state = *state_;
  edge_list from;
  Tensors arriving;
  std::vector<std::size_t> outside;  // outputs that depend on parameters only
  for (std::size_t i = 0; i < std::min(state.roots.size(), grad_outputs.size()); ++i) {
    if (state.roots[i].is_valid() && grad_outputs[i].defined()) {
      from.push_back(state.roots[i]);
      arriving.push_back(grad_outputs[i]);
      if (state.halves == Halves::Split && !state.is_inside(state.roots[i])) {
        outside.push_back(i);
      }
    }
  }
  const bool is_last = state.frontier.empty() && outside.empty();
  Tensors found = state.run_inputs(
      is_last ? State::Afterwards::FreesGraph : State::Afterwards::KeepsGraph, from, arriving);
  for (const std::size_t i : outside) {
    state.start_weights(state.roots[i], grad_outputs[i]);
  }
  state.close_inside();
  state.forget_nodes();
  auto next = found.begin();
  Tensors result;
  for (const bool has_gradient : state.has_gradient) {
    result.push_back(has_gradient ? std::move(*next++) : at::Tensor());
  }
  return result;
}

void AutogradGraph::join_halves() {
  state_->halves = Halves::Together;
  state_->is_early.assign(state_->gradients.size(), true);
  state_->frontier.clear();
}

Tensors AutogradGraph::backward_weight() {
  State& state = *state_;
  edge_list roots;
  Tensors arriving;
  for (State::Start& start : state.frontier) {
    for (std::uint32_t input = 0; input < start.gradients.size(); ++input) {
      if (start.gradients[input].defined()) {
        roots.emplace_back(start.node, input);
        arriving.push_back(std::move(start.gradients[input]));
      }
    }
  }
  state.frontier.clear();
  edge_list wanted;
  state.append_leaves(/*early=*/false, wanted);
  if (!roots.empty() && !wanted.empty()) {
    Tensors found = state.run(State::Afterwards::FreesGraph, roots, arriving, wanted);
    state.take_gradients(/*early=*/false, found.begin());
  }
  return std::move(state.gradients);
}

}  // namespace halfback
