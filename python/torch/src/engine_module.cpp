// halfback.torch._engine.
#include "halfback/engine/memory.h"
#include "python/torch/src/engine.h"

#include <map>

namespace halfback {

namespace py = pybind11;

namespace {

using NamedParameter = std::tuple<std::string, at::Tensor, std::string>;  // and copy_of
using NamedStatistic = std::tuple<std::string, at::Tensor, double>;       // and kept
// Inputs, targets, further inputs of every stage, number of targets.
using Given = std::tuple<Tensors, at::Tensor, std::vector<Tensors>, std::int64_t>;
// Rank, action, start, end.
using SpanOfPython = std::tuple<int, std::string, double, double>;

PartOfModel part_of(std::string name,
                    py::object forward,
                    std::vector<NamedParameter> parameters,
                    std::vector<NamedStatistic> statistics) {
  PartOfModel part{.name = std::move(name), .forward = std::move(forward)};
  for (auto& [one, tensor, copy_of] : parameters) {
    part.parameters.push_back({std::move(one), std::move(tensor), std::move(copy_of)});
  }
  for (auto& [one, tensor, kept] : statistics) {
    part.statistics.push_back({std::move(one), std::move(tensor), kept});
  }
  return part;
}

std::vector<MicroBatch> batches_of(std::vector<Given> given) {
  std::vector<MicroBatch> all;
  for (auto& [inputs, targets, further, count] : given) {
    all.push_back({.inputs = std::move(inputs),
                   .targets = std::move(targets),
                   .stage_inputs = std::move(further),
                   .count = count});
  }
  return all;
}

// The keys of a memory file (halfback/simulate/cost_file.h).
std::vector<std::map<std::string, std::int64_t>> bytes_of(const std::vector<StageBytes>& stages) {
  std::vector<std::map<std::string, std::int64_t>> all;
  for (const StageBytes& one : stages) {
    all.push_back({{"until_input", one.until_input},
                   {"until_weight", one.until_weight},
                   {"gradients", one.gradients},
                   {"activation_message", one.activation_message},
                   {"gradient_message", one.gradient_message}});
  }
  return all;
}

std::vector<std::int64_t> activations_of(const StepResult& result) {
  std::vector<std::int64_t> all;
  for (const RankMemory& one : result.memory) {
    all.push_back(one.activations);
  }
  return all;
}

std::vector<SpanOfPython> spans_of(const StepResult& result) {
  std::vector<SpanOfPython> spans;
  for (const Span& span : result.timeline.spans) {
    spans.emplace_back(span.rank, to_string(span.action), span.start_seconds, span.end_seconds);
  }
  return spans;
}

}  // namespace

PYBIND11_MODULE(_engine, module) {
  py::module_::import("torch.distributed");  // which knows ProcessGroup
  register_errors();
  py::class_<PartOfModel>(module, "Part").def(py::init(&part_of));
  py::class_<StepResult>(module, "Result")
      .def_readonly("loss", &StepResult::loss)
      .def_readonly("gradient_norm", &StepResult::gradient_norm)
      .def_readonly("seconds", &StepResult::seconds)
      .def_property_readonly("activations", &activations_of)
      .def_property_readonly("spans", &spans_of);
  module.def("count_bytes", &install_counting_allocator);
  py::class_<Engine>(module, "Engine")
      .def(py::init([](const std::string& schedule, const std::vector<PartOfModel>& parts,
                       py::object loss, double timeout, int threads, std::uint64_t seed,
                       const std::optional<c10::intrusive_ptr<c10d::ProcessGroup>>& group) {
        return std::make_unique<Engine>(
            schedule, parts, std::move(loss),
            EngineOptions{.timeout_seconds = timeout, .threads_per_rank = threads, .seed = seed},
            group);
      }))
      .def_property_readonly("local_stages", &Engine::local_stages)
      .def_property_readonly("schedule", &Engine::schedule)
      .def("measure_bytes",
           [](Engine& engine, Given given) {
             return bytes_of(engine.measure_bytes(batches_of({std::move(given)}).front()));
           })
      .def("step",
           [](Engine& engine, std::vector<Given> given) {
             return engine.step(batches_of(std::move(given)));
           })
      .def("evaluate",
           [](Engine& engine, std::vector<Given> given) {
             return engine.evaluate(batches_of(std::move(given)));
           })
      .def("close", &Engine::close, py::call_guard<py::gil_scoped_release>());
}

}  // namespace halfback
