#include "halfback/timeline/chrome_trace.h"
#include "halfback/timeline/report/report.h"
#include "halfback/timeline/report/svg.h"
#include "halfback/timeline/text_grid.h"
#include "halfback/views/headline.h"
#include "halfback/views/page.h"
#include "python/src/core/bindings.h"

#include <fmt/format.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <optional>
#include <utility>

namespace halfback::python {

namespace nb = nanobind;

namespace {

// The bytes of a rank: permanent ones, and those at its peak.
struct RankMemory {
  StateBytes constant;
  MemoryParts at_peak;

  std::int64_t total() const { return constant.total() + at_peak.total(); }
};

std::optional<std::vector<RankMemory>> memory_of(const Simulation& run) {
  if (!run.memory) {
    return std::nullopt;
  }
  std::vector<RankMemory> memory;
  for (std::size_t rank = 0; rank < run.constant.size(); ++rank) {
    memory.push_back({run.constant[rank], run.prediction.at_peak[rank]});
  }
  return memory;
}

template <typename Value>
using Column = nb::ndarray<nb::numpy, const Value, nb::ndim<1>>;

// Returns a view of a member of all spans, as a column of a table. It keeps the run alive.
template <typename Value, typename Member>
Column<Value> column(nb::handle_t<Simulation> run, Member member) {
  const std::vector<Span>& spans = nb::cast<const Simulation&>(run).result.timeline.spans;
  static const Span kNoSpan;
  const auto* first =
      reinterpret_cast<const Value*>(&member(spans.empty() ? kNoSpan : spans.front()));
  static_assert(sizeof(Span) % sizeof(Value) == 0);
  return Column<Value>(first, {spans.size()}, run,
                       {static_cast<std::int64_t>(sizeof(Span) / sizeof(Value))});
}

// Binds such a column as a property.
template <typename Value, typename Member>
void bind_column(nb::class_<Simulation>& type, const char* name, Member member, const char* text) {
  type.def_prop_ro(
      name, [member](nb::handle_t<Simulation> run) { return column<Value>(run, member); }, text);
}

std::string title_of(const Simulation& run) { return headline(run.schedule); }

std::string svg_of(const Simulation& run) {
  return without_gil([&] { return to_svg(run.result.timeline, title_of(run)); });
}

std::string html_of(const Simulation& run) {
  return without_gil(
      [&] { return to_html(simulated_page(run.schedule, run.costs, run.options, run.memory)); });
}

std::string trace_of(const Simulation& run) {
  return without_gil([&] { return to_chrome_trace(run.result.timeline); });
}

std::vector<Span> critical_path_of(const Simulation& run) {
  return without_gil([&] {
    std::vector<Span> spans;
    for (const std::size_t index :
         critical_spans(run.result.timeline, run.schedule, run.costs, run.options)) {
      spans.push_back(run.result.timeline.spans[index]);
    }
    return spans;
  });
}

// One row for each action.
nb::object to_pandas(nb::handle_t<Simulation> run) {
  nb::dict columns;
  constexpr const char* kColumns[][2] = {{"rank", "ranks"},
                                         {"stage", "stages"},
                                         {"micro_batch", "micro_batches"},
                                         {"start", "starts"},
                                         {"end", "ends"}};
  for (const auto& [name, array] : kColumns) {
    columns[name] = run.attr(array);
  }
  nb::list kinds;
  nb::list actions;
  for (const Span& span : nb::cast<const Simulation&>(run).result.timeline.spans) {
    kinds.append(std::string(letters(span.action.kind)));
    actions.append(to_string(span.action));
  }
  columns["kind"] = kinds;
  columns["action"] = actions;
  nb::list order;
  for (const char* name : {"rank", "action", "kind", "stage", "micro_batch", "start", "end"}) {
    order.append(name);
  }
  return nb::module_::import_("pandas").attr("DataFrame")(columns, nb::arg("columns") = order);
}

void bind_parts(nb::module_& module) {
  nb::class_<Span>(module, "Span", "When an action runs on its rank, in the unit of the costs.")
      .def_ro("rank", &Span::rank, "The rank.")
      .def_prop_ro(
          "action", [](const Span& span) { return to_string(span.action); },
          "Its text, such as ``\"2F0\"``.")
      .def_prop_ro(
          "kind", [](const Span& span) { return letters(span.action.kind); },
          "Its letters, one of KINDS.")
      .def_prop_ro(
          "stage", [](const Span& span) { return span.action.stage; }, "Its stage.")
      .def_prop_ro(
          "micro_batch", [](const Span& span) { return span.action.micro_batch; },
          "Its micro-batch.")
      .def_ro("start", &Span::start_seconds, "When it starts.")
      .def_ro("end", &Span::end_seconds, "When it ends.")
      .def("__repr__", [](const Span& span) {
        return fmt::format("<halfback.Span rank {}: {} from {:g} to {:g}>", span.rank,
                           to_string(span.action), span.start_seconds, span.end_seconds);
      });

  nb::class_<RankMemory> memory(module, "RankMemory",
                                "Bytes that a rank holds when it holds most.");
  const auto bytes = [&](const char* name, auto function, const char* text) {
    memory.def_prop_ro(name, function, text);
  };
  using M = const RankMemory&;
  bytes(
      "parameters", [](M m) { return m.constant.parameters; }, "Of its stages.");
  bytes(
      "parameter_gradients", [](M m) { return m.constant.gradients; }, "Of its stages.");
  bytes(
      "optimizer", [](M m) { return m.constant.optimizer; }, "State of the optimizer.");
  bytes(
      "until_input", [](M m) { return m.at_peak.until_input; }, "Kept by F for I.");
  bytes(
      "until_weight", [](M m) { return m.at_peak.until_weight; }, "Kept by F for W.");
  bytes(
      "gradients", [](M m) { return m.at_peak.gradients; }, "Kept by I for W.");
  bytes(
      "messages", [](M m) { return m.at_peak.messages; },
      "Made and not yet sent, or arrived and not yet taken.");
  bytes(
      "peak", [](M m) { return m.at_peak.total(); }, "Sum of the four above.");
  bytes(
      "total", [](M m) { return m.total(); }, "Sum of all.");
  memory.def("__repr__", [](M m) {
    return fmt::format("<halfback.RankMemory total {}, of it peak {}>", m.total(),
                       m.at_peak.total());
  });
}

}  // namespace

void bind_run(nb::module_& module) {
  bind_parts(module);
  nb::class_<Simulation> type(
      module, "Run",
      "A simulated step. Times are in the unit of the costs. Fractions are 1 - busy\n"
      "of all ranks / (ranks x period). In a notebook it is drawn.");
  const auto number = [&](const char* name, auto function, const char* text) {
    type.def_prop_ro(name, function, text);
  };
  using S = const Simulation&;
  number(
      "makespan", [](S s) { return s.result.makespan; }, "When the last action ends.");
  number(
      "bubble_fraction", [](S s) { return s.result.bubble_fraction; },
      "Idle fraction of the makespan.");
  number(
      "stage_step", [](S s) { return s.result.stage_step; },
      "Longest time of one rank, from its first start to its last end.");
  number(
      "stage_step_bubble_fraction", [](S s) { return s.result.stage_step_bubble_fraction; },
      "Idle fraction of the stage step.");
  number(
      "steady_step", [](S s) { return s.steady ? std::optional(s.steady->period) : std::nullopt; },
      "Period of repeated steps; None without ``repeat``.");
  number(
      "steady_step_bubble_fraction",
      [](S s) { return s.steady ? std::optional(s.steady->bubble_fraction) : std::nullopt; },
      "Idle fraction of that period.");
  number(
      "messages_added", [](S s) { return s.messages_added; },
      "True when messages were added for channels that hold up their ranks.");
  number(
      "busy", [](S s) { return s.result.busy; }, "By rank, the time of its computation.");
  number(
      "peak_held", [](S s) { return s.activation_peaks; },
      "By rank, most memory until W, in M_B: what one micro-batch keeps on 1/N of the model.");
  number(
      "reducing", [](S s) { return s.statistics.reduction_seconds; },
      "By rank, time in which gradients are summed over replicas.");
  number(
      "exposed_reducing", [](S s) { return s.statistics.exposed_reduction_seconds; },
      "By rank, the part of it in which the rank computes nothing.");
  type.def_prop_ro(
          "schedule", [](const Simulation& run) { return BoundSchedule{run.schedule}; },
          nb::sig("def schedule(self) -> Schedule"),
          "As simulated: with the messages that were added, and with repeated steps.")
      .def_prop_ro("memory", &memory_of, "By rank, its bytes; None if those of stages are unknown.")
      .def(
          "spans", [](const Simulation& run) { return run.result.timeline.spans; },
          "Returns when each action ran; those of a rank are in the order of its list.")
      .def("critical_path", &critical_path_of,
           "Returns the actions that determine the makespan, in order of time.")
      .def("svg", &svg_of, "Returns a drawing, for papers and notebooks.")
      .def("_repr_svg_", &svg_of)
      .def("html", &html_of, "Returns a page of its own, with the memory of each rank.")
      .def("trace", &trace_of, "Returns the JSON for Perfetto (ui.perfetto.dev).")
      .def("to_pandas", &to_pandas, "Returns a DataFrame with a row for each action.",
           nb::sig("def to_pandas(self) -> pandas.DataFrame"))
      .def("__str__",
           [](const Simulation& run) {
             return title_of(run) + '\n' + draw_timeline(run.result.timeline);
           })
      .def("__repr__", [](const Simulation& run) {
        return fmt::format("<halfback.Run {}; makespan {:.6g}, bubble fraction {:.3f}>",
                           title_of(run), run.result.makespan, run.result.bubble_fraction);
      });
  bind_column<int>(
      type, "ranks", [](const Span& s) -> const int& { return s.rank; },
      "Array of shape [actions]: the rank of each action. Read-only, without a copy.");
  bind_column<std::uint8_t>(
      type, "kinds", [](const Span& s) -> const ActionKind& { return s.action.kind; },
      "The same: its index in KINDS.");
  bind_column<int>(
      type, "stages", [](const Span& s) -> const int& { return s.action.stage; },
      "The same: its stage.");
  bind_column<int>(
      type, "micro_batches", [](const Span& s) -> const int& { return s.action.micro_batch; },
      "The same: its micro-batch.");
  bind_column<double>(
      type, "starts", [](const Span& s) -> const double& { return s.start_seconds; },
      "The same: when it starts.");
  bind_column<double>(
      type, "ends", [](const Span& s) -> const double& { return s.end_seconds; },
      "The same: when it ends.");
}

}  // namespace halfback::python
