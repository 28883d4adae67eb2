// Steps that have run elsewhere, as halfback.torch.Pipeline runs them.
#include "halfback/base/error.h"
#include "halfback/schedule/csv.h"
#include "halfback/simulate/cost_file.h"
#include "halfback/views/page.h"
#include "python/src/core/arguments.h"
#include "python/src/core/bindings.h"

#include <fmt/format.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace halfback::python {

namespace nb = nanobind;
using namespace nb::literals;  // NOLINT(google-build-using-namespace)

namespace {

using RanAction = std::tuple<int, std::string, double, double>;

// Throws ConfigError for actions that are not those of the lists.
Timeline timeline_of(const Schedule& schedule, const std::vector<RanAction>& spans) {
  Timeline timeline{.num_ranks = schedule.num_ranks()};
  std::vector<std::vector<Action>> ran(schedule.ranks.size());
  for (const auto& [rank, action, start, end] : spans) {
    if (rank < 0 || rank >= schedule.num_ranks()) {
      throw ConfigError(fmt::format("spans: rank {}; the ranks of the schedule are 0 to {}", rank,
                                    schedule.num_ranks() - 1));
    }
    timeline.spans.push_back({.rank = rank,
                              .action = parse_action(action),
                              .start_seconds = start,
                              .end_seconds = end,
                              .cpu_seconds = end - start});
    ran[static_cast<std::size_t>(rank)].push_back(timeline.spans.back().action);
  }
  if (ran != schedule.ranks) {
    throw ConfigError(
        "spans: they are not those of the schedule's actions; give those of one whole step, and "
        "call it on the schedule that ran, with its messages");
  }
  return timeline;
}

std::string page_of(const BoundSchedule& bound,
                    const std::vector<RanAction>& spans,
                    nb::handle memory) {
  std::optional<MemoryModel> bytes;
  if (!memory.is_none()) {
    bytes = read_memory(memory);
  }
  return without_gil([&] {
    return to_html(measured_page(bound.schedule, timeline_of(bound.schedule, spans), bytes));
  });
}

nb::object costs_of(const BoundSchedule& bound, const std::vector<RanAction>& spans) {
  CostModel costs;
  costs.stages.assign(static_cast<std::size_t>(bound.schedule.num_stages()), {0.0, 0.0, 0.0});
  take_measured_costs(costs, timeline_of(bound.schedule, spans), SpanClock::Wall);
  return nb::module_::import_("json").attr("loads")(to_cost_file({.costs = costs}));
}

}  // namespace

void bind_measured(nb::class_<BoundSchedule>& type) {
  type.def("step_html", &page_of, "spans"_a, "memory"_a = nb::none(),
           nb::sig("def step_html(self, spans: collections.abc.Sequence[tuple[int, str, float, "
                   "float]], memory: Memory | None = None) -> str"),
           "Returns the page of a step that has run, with the same step simulated above it.\n\n"
           "Args:\n"
           "    spans: rank, action, start and end in seconds of every action, as\n"
           "        ``halfback.torch.Step.spans``.\n"
           "    memory: bytes of each stage, for the bytes that ranks hold; without them they\n"
           "        are in M_B.\n\n"
           "Raises:\n"
           "    ConfigError: if these are not the actions of the schedule.")
      .def("step_costs", &costs_of, "spans"_a,
           nb::sig("def step_costs(self, spans: collections.abc.Sequence[tuple[int, str, float, "
                   "float]]) -> dict[str, typing.Any]"),
           "Returns the median costs of each stage's actions in such a step, in the form of a\n"
           "cost file, for ``simulate()`` of any schedule with as many stages.");
}

}  // namespace halfback::python
