#include "halfback/layers/autograd_layer.h"

#include "halfback/base/error.h"
#include "halfback/layers/known_autograd.h"
#include "halfback/layers/products.h"
#include "halfback/layers/storage_watch.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

namespace halfback {

namespace {

using Input = AutogradLayer::Options::Input;
using Gradients = AutogradLayer::Options::Gradients;

// Returns the tensor in memory that nothing else uses and that it fills: what leaves a layer must
// not share memory.
at::Tensor owned(at::Tensor tensor) {
  const bool is_alone = tensor.is_contiguous() && tensor.storage().use_count() == 1 &&
                        tensor.storage().nbytes() == tensor.nbytes();
  return is_alone ? std::move(tensor) : tensor.clone(at::MemoryFormat::Contiguous);
}

at::Tensor state_of_global_generator() {
  at::Generator generator = at::globalContext().defaultGenerator(at::kCPU);
  const std::lock_guard lock(generator.mutex());
  return generator.get_state();
}

// Returns the type of activations of that size, next to parameters of type `own`.
at::ScalarType type_of_size(std::int64_t element_bytes, at::ScalarType own) {
  if (static_cast<std::int64_t>(at::elementSize(own)) == element_bytes) {
    return own;
  }
  return element_bytes == 8 ? at::kDouble : element_bytes == 4 ? at::kFloat : at::kBFloat16;
}

}  // namespace

class AutogradLayer::Core {
 public:
  Core(ForeignModule module, Options options);

  ForeignTensors& tensors() { return tensors_; }
  Tensors forward(const Tensors& inputs, Saved& saved, const Call& call);
  Tensors backward_input(const Tensors& grad_outputs, Saved& saved);
  void backward_weight(Saved& saved);

  // The output shapes and the kept bytes for inputs of some shapes. Side inputs have one of their
  // own for a shape of the first input, and are left out.
  struct Probe {
    std::vector<Shape> shapes;
    SavedBytes bytes;
  };
  const Probe& probe(std::vector<Shape> shapes, std::int64_t element_bytes);
  bool has_one_gradient() const { return options_.gradients == Gradients::First; }

 private:
  [[noreturn]] void refuse(const std::string& found, const std::string& remedy) const {
    throw ConfigError(fmt::format("module {}: {}; {}", module_.name, found, remedy));
  }
  Tensors run(const Tensors& inputs, const Call& call);
  Tensors checked_run(const Tensors& inputs, const Call& call);
  Tensors train(const Tensors& inputs, Saved& saved, const Call& call);
  void require_unwritten(const Tensors& entering, const std::vector<std::int64_t>& versions) const;
  bool has_gradient(const at::Tensor& input, std::size_t index) const;
  Tensors leave(Tensors outputs, Tensors entering, const Tensors& inputs) const;
  Tensors evaluate(const Tensors& inputs, const Call& call);
  Probe measure(const std::vector<Shape>& shapes, at::ScalarType dtype);

  ForeignModule module_;
  Options options_;
  ForeignTensors tensors_;
  bool is_checked_ = false;
  std::map<std::pair<std::vector<Shape>, at::ScalarType>, Probe> probes_;
};

AutogradLayer::Core::Core(ForeignModule module, Options options)
    : module_(std::move(module)),
      options_(std::move(options)),
      tensors_(module_.name, module_.parameters, module_.statistics) {}

Tensors AutogradLayer::Core::run(const Tensors& inputs, const Call& call) {
  tensors_.begin_statistics(call.is_training);
  Tensors outputs = module_.forward(inputs, call);
  if (outputs.empty() || !outputs.front().defined()) {
    refuse("it returns nothing", "return at least one tensor");
  }
  return outputs;
}

// The first call in training also checks for what would make a run depend on its schedule.
Tensors AutogradLayer::Core::checked_run(const Tensors& inputs, const Call& call) {
  if (is_checked_) {
    return run(inputs, call);
  }
  Tensors before;
  for (const ForeignTensor& buffer : module_.buffers) {
    before.push_back(buffer.tensor.clone());
  }
  const at::Tensor generator = module_.keys_draws ? at::Tensor() : state_of_global_generator();
  Tensors outputs = run(inputs, call);
  if (generator.defined() && !state_of_global_generator().equal(generator)) {
    refuse(
        "it draws from libtorch's global generator in training, as dropout does, which gives each "
        "schedule different numbers",
        "draw from a generator that is seeded with Call::key");
  }
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (!module_.buffers[i].tensor.equal(before[i])) {
      refuse(fmt::format("its buffer {} changes in training, and F may run early or twice",
                         module_.buffers[i].name),
             "name it as a RunningStatistic, or keep it constant");
    }
  }
  is_checked_ = true;
  return outputs;
}

void AutogradLayer::Core::require_unwritten(const Tensors& entering,
                                            const std::vector<std::int64_t>& versions) const {
  for (std::size_t i = 0; i < entering.size(); ++i) {
    if (entering[i]._version() != versions[i]) {
      refuse(fmt::format("it writes to its input {}, which is not its own", i),
             "work on a copy, or not in place");
    }
  }
}

bool AutogradLayer::Core::has_gradient(const at::Tensor& input, std::size_t index) const {
  return options_.input == Input::Activations &&
         (has_one_gradient() ? index == 0 : input.is_floating_point());
}

// Returns the outputs without their graph; inputs that are passed on stay the caller's tensors.
Tensors AutogradLayer::Core::leave(Tensors outputs, Tensors entering, const Tensors& inputs) const {
  std::vector<bool> passes_by(outputs.size(), false);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const auto place = std::find_if(entering.begin(), entering.end(),
                                    [&](const at::Tensor& one) { return one.is_same(outputs[i]); });
    // The stage keeps its side inputs, so what becomes the first tensor is a copy.
    passes_by[i] = place != entering.end() && (i > 0 || place == entering.begin());
    if (passes_by[i]) {
      outputs[i] = inputs[static_cast<std::size_t>(place - entering.begin())];
    } else if (i > 0 && has_one_gradient() && outputs[i].requires_grad()) {
      refuse(fmt::format("output {} has a gradient, which only the first can have", i),
             "return detach() of it, or one tensor, or ask for Gradients::Floating");
    } else {
      outputs[i] = outputs[i].variable_data();
    }
  }
  entering.clear();
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (!passes_by[i]) {
      outputs[i] = owned(std::exchange(outputs[i], {}));
    }
  }
  return outputs;
}

Tensors AutogradLayer::Core::train(const Tensors& inputs, Saved& saved, const Call& call) {
  const c10::InferenceMode normal(false);
  Tensors entering;
  std::vector<std::int64_t> versions;
  for (const at::Tensor& input : inputs) {
    entering.push_back(savable(input));
    versions.push_back(entering.back()._version());
  }
  Tensors beginning(inputs.size() - call.num_stage_inputs);
  for (std::size_t i = 0; i < beginning.size(); ++i) {
    if (has_gradient(entering[i], i)) {
      beginning[i] = entering[i];
    }
  }
  tensors_.drop_gradients();
  saved.graph = std::make_shared<AutogradGraph>(tensors_.leaves());
  saved.graph->begin(beginning);
  beginning.clear();
  Tensors outputs = checked_run(entering, call);
  require_unwritten(entering, versions);
  saved.graph->end(has_one_gradient() ? Tensors{outputs.front()} : outputs, options_.halves);
  saved.until_weight = tensors_.changes();
  return leave(std::move(outputs), std::move(entering), inputs);
}

Tensors AutogradLayer::Core::evaluate(const Tensors& inputs, const Call& call) {
  const c10::InferenceMode no_graph(true);
  Tensors outputs = run(inputs, call);
  for (at::Tensor& one : outputs) {
    one = one.contiguous();
  }
  return outputs;
}

Tensors AutogradLayer::Core::forward(const Tensors& inputs, Saved& saved, const Call& call) {
  tensors_.use_memory_of_engine();
  return call.is_training ? train(inputs, saved, call) : evaluate(inputs, call);
}

Tensors AutogradLayer::Core::backward_input(const Tensors& grad_outputs, Saved& saved) {
  const bool has_more = std::any_of(grad_outputs.begin() + 1, grad_outputs.end(),
                                    [](const at::Tensor& one) { return one.defined(); });
  if (has_more && has_one_gradient()) {
    refuse("a side input has a gradient", "give it to a layer that passes it on");
  }
  tensors_.use_memory_of_engine();  // a saved leaf shows its current memory
  const c10::InferenceMode normal(false);
  Tensors arriving;
  for (const at::Tensor& one : grad_outputs) {
    arriving.push_back(one.defined() ? savable(one) : at::Tensor());
  }
  Tensors gradients = saved.graph->backward_input(arriving);
  arriving.clear();
  for (at::Tensor& one : gradients) {
    if (one.defined()) {
      one = owned(std::exchange(one, {}));
    }
  }
  return gradients;
}

void AutogradLayer::Core::backward_weight(Saved& saved) {
  tensors_.use_memory_of_engine();
  Tensors gradients;
  {
    const c10::InferenceMode normal(false);
    gradients = std::exchange(saved.graph, nullptr)->backward_weight();
  }
  tensors_.add_gradients(gradients);
  tensors_.add_changes(std::exchange(saved.until_weight, {}));
}

const AutogradLayer::Core::Probe& AutogradLayer::Core::probe(std::vector<Shape> shapes,
                                                             std::int64_t element_bytes) {
  if (has_one_gradient()) {
    shapes.resize(1);
  }
  const std::pair key(std::move(shapes), type_of_size(element_bytes, tensors_.type()));
  const auto found = probes_.find(key);
  return found != probes_.end() ? found->second : probes_[key] = measure(key.first, key.second);
}

AutogradLayer::Core::Probe AutogradLayer::Core::measure(const std::vector<Shape>& shapes,
                                                        at::ScalarType dtype) {
  if (!tensors_.has_memory_of_engine()) {
    tensors_.convert(dtype);
  }
  const c10::InferenceMode normal(false);
  const Tensors side_inputs =
      options_.side_inputs ? options_.side_inputs(shapes.front()) : Tensors();
  const bool is_data = options_.input != Input::Activations;
  const at::Tensor data =
      is_data ? at::zeros(shapes.front(), options_.input == Input::Ids ? at::kLong : dtype)
              : at::Tensor();

  const StorageWatch watch;
  Saved saved;
  Tensors tensors = {is_data ? data : at::zeros(shapes.front(), dtype)};
  for (std::size_t i = 1; i < shapes.size(); ++i) {
    tensors.push_back(at::zeros(shapes[i], dtype));
  }
  tensors.insert(tensors.end(), side_inputs.begin(), side_inputs.end());
  tensors = forward(tensors, saved, {});
  Probe probe;
  std::vector<at::TensorOptions> options;
  for (const at::Tensor& one : tensors) {
    probe.shapes.push_back(one.sizes().vec());
    options.push_back(one.options());
  }
  // The outputs are not kept by the layer, so they must be gone before the count.
  std::fill(tensors.begin(), tensors.end(), at::Tensor());
  const StorageWatch::Alive after_forward = watch.alive();
  for (std::size_t i = 0; i < (has_one_gradient() ? 1 : tensors.size()); ++i) {
    tensors[i] = at::zeros(probe.shapes[i], options[i]);
  }
  tensors = backward_input(tensors, saved);
  tensors.clear();
  const StorageWatch::Alive after_input = watch.alive();
  saved = {};
  const StorageWatch::Alive afterwards = watch.alive();  // the module's own storages, and data
  probe.bytes = kept_bytes(after_forward, after_input, afterwards);
  return probe;
}

AutogradLayer::AutogradLayer(ForeignModule module, Options options) {
  require_known_autograd();
  core_ = std::make_unique<Core>(std::move(module), std::move(options));
}

AutogradLayer::AutogradLayer(ForeignModule module) : AutogradLayer(std::move(module), Options()) {}

AutogradLayer::~AutogradLayer() = default;

std::vector<Parameter*> AutogradLayer::parameters() { return core_->tensors().parameters(); }

void AutogradLayer::use_memory_of_engine() { core_->tensors().use_memory_of_engine(); }
void AutogradLayer::show_statistics() { core_->tensors().show_statistics(); }
void AutogradLayer::take_statistics() { core_->tensors().take_statistics(); }

Tensors AutogradLayer::forward(Tensors inputs, Saved& saved, const Call& call) {
  return core_->forward(inputs, saved, call);
}

Tensors AutogradLayer::backward_input(Tensors grad_outputs, Saved& saved, const Call& /*call*/) {
  return core_->backward_input(grad_outputs, saved);
}

void AutogradLayer::backward_weight(std::span<Saved*> saved) {
  for (Saved* const one : saved) {
    core_->backward_weight(*one);
  }
}

Tensors AutogradLayer::backward(Tensors grad_outputs, Saved& saved, const Call& call) {
  saved.graph->join_halves();
  Tensors gradients = backward_input(std::move(grad_outputs), saved, call);
  core_->backward_weight(saved);
  return gradients;
}

Described AutogradLayer::describe(std::vector<Shape> shapes, std::int64_t element_bytes) const {
  const Core::Probe& probe = core_->probe(shapes, element_bytes);
  if (core_->has_one_gradient()) {
    shapes.front() = probe.shapes.front();
  } else {
    shapes = probe.shapes;
  }
  return {.shapes = std::move(shapes), .bytes = probe.bytes};
}

}  // namespace halfback
