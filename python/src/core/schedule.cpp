#include "halfback/schedule/schedule.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/base/text.h"
#include "halfback/schedule/communication.h"
#include "halfback/schedule/csv.h"
#include "halfback/schedule/passes.h"
#include "halfback/schedule/source.h"
#include "halfback/schedule/validate.h"
#include "halfback/timeline/text_grid.h"
#include "halfback/views/findings.h"
#include "halfback/views/headline.h"
#include "python/src/core/arguments.h"
#include "python/src/core/bindings.h"

#include <fmt/format.h>
#include <nanobind/operators.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <filesystem>
#include <optional>
#include <utility>

namespace halfback::python {

namespace nb = nanobind;
using namespace nb::literals;  // NOLINT(google-build-using-namespace)

namespace {

using Path = std::filesystem::path;

BoundSchedule parse(const std::string& text, const std::string& source) {
  return without_gil([&] {
    BoundSchedule bound{parse_schedule(text, source), text};
    validate(bound.schedule, {.where = source});
    if (bound.schedule.name.empty()) {
      bound.schedule.name = Path(source).stem().string();
    }
    return bound;
  });
}

BoundSchedule load(const Path& path) { return parse(read_schedule_text(path), path.string()); }

// The schedule with messages that all questions about channels are answered for.
Schedule lowered(const BoundSchedule& bound) { return with_messages(bound.schedule, kBuffered); }

void verify(const BoundSchedule& bound,
            const std::string& channel,
            std::optional<double> activation_limit) {
  const ChannelRule rule = parse_channel_rule(channel);
  without_gil([&] {
    validate(lowered(bound),
             {.channel = rule, .where = bound.schedule.name, .activation_limit = activation_limit});
  });
}

bool runs_on(const BoundSchedule& bound, const std::string& channel) {
  const ChannelRule rule = parse_channel_rule(channel);
  return without_gil([&] { return dry_run(lowered(bound), rule).finished; });
}

CsvDialect dialect_of(const std::string& name) {
  if (name == "halfback") {
    return CsvDialect::Halfback;
  }
  if (name == "torch") {
    return CsvDialect::Torch;
  }
  throw ConfigError(fmt::format("dialect: '{}' is not known{}; expected halfback or torch",
                                name.substr(0, 40), suggestion(name, {"halfback", "torch"})));
}

std::string csv_of(const BoundSchedule& bound, const std::string& dialect) {
  return to_csv(bound.schedule, dialect_of(dialect));
}

// Of its own file, or of the one that it would be saved to. What has no such file is refused for
// what it is.
std::vector<TorchFinding> find_torch_faults(const BoundSchedule& bound) {
  if (!bound.text.empty()) {
    return check_for_torch(bound.schedule, bound.text);
  }
  try {
    return check_for_torch(bound.schedule, to_csv(bound.schedule, CsvDialect::Torch));
  } catch (const ConfigError&) {
    return check_for_torch(remove_communication(bound.schedule), "");
  }
}

std::vector<std::vector<std::string>> lists_of(const BoundSchedule& bound) {
  std::vector<std::vector<std::string>> lists;
  for (const auto& list : bound.schedule.ranks) {
    auto& texts = lists.emplace_back();
    for (const Action& action : list) {
      texts.push_back(to_string(action));
    }
  }
  return lists;
}

std::vector<int> stages_of(const BoundSchedule& bound, int rank) {
  if (rank < 0 || rank >= bound.schedule.num_ranks()) {
    throw nb::index_error(
        fmt::format("rank {}; the ranks are 0 to {}", rank, bound.schedule.num_ranks() - 1)
            .c_str());
  }
  return bound.schedule.placement.stages_of(rank);
}

std::optional<int> smallest_channel(const BoundSchedule& bound) {
  return without_gil([&] { return find_channels(lowered(bound)).smallest_capacity; });
}

Simulation simulate_bound(const BoundSchedule& bound,
                          nb::handle cost,
                          std::optional<double> latency,
                          std::optional<double> bandwidth,
                          const std::string& channel,
                          double reduce_cost,
                          nb::handle memory,
                          std::optional<int> repeat) {
  SimulationRequest request = read_costs(cost);
  if (request.costs_are_share) {
    request.costs.costs.stages.front().reduce = reduce_cost;
  } else if (reduce_cost != 0.0) {
    throw ConfigError(
        "simulate: reduce_cost beside costs of stages; give the stages reduce or reduce_bytes in a "
        "cost file");
  }
  request.latency = latency;
  request.bandwidth = bandwidth;
  request.channel = parse_channel_rule(channel);
  request.repeat = repeat;
  if (!memory.is_none()) {
    request.memory = read_memory(memory);
  }
  return without_gil([&] { return simulate_all(bound.schedule, request); });
}

Simulation simulate_plainly(const BoundSchedule& bound) {
  return without_gil([&] { return simulate_all(bound.schedule, {}); });
}

// Binds a pass without arguments.
template <typename Pass>
auto pass(Pass function) {
  return [function](const BoundSchedule& bound) {
    return without_gil([&] { return BoundSchedule{function(bound.schedule)}; });
  };
}

void bind_facts(nb::class_<BoundSchedule>& type) {
  const auto fact = [&](const char* name, auto function, const char* text) {
    type.def_prop_ro(
        name, [function](const BoundSchedule& bound) { return function(bound.schedule); }, text);
  };
  fact(
      "name", [](const Schedule& s) { return s.name; }, "Family and variant, or the file's.");
  fact(
      "num_ranks", [](const Schedule& s) { return s.num_ranks(); }, "Number of ranks.");
  fact(
      "num_stages", [](const Schedule& s) { return s.num_stages(); }, "Number of stages.");
  fact(
      "num_micro_batches", [](const Schedule& s) { return s.num_micro_batches; },
      "Micro-batches in a step.");
  fact(
      "num_replicas", [](const Schedule& s) { return s.placement.num_replicas(); },
      "Replicas of the weights.");
  fact(
      "num_actions", [](const Schedule& s) { return num_actions(s); }, "Actions of all ranks.");
  fact(
      "num_messages", [](const Schedule& s) { return count_sends(s); },
      "Sends in the lists; 0 if the lists have no messages.");
  fact(
      "two_stage", [](const Schedule& s) { return is_two_stage(s); },
      "True when the backward is split into I and W.");
  fact(
      "stage_updates", [](const Schedule& s) { return has_updates(s); },
      "True when stages are updated inside the lists, else after them.");
  fact(
      "losses", [](const Schedule& s) { return losses_text(s.losses); },
      "Losses inside the model, as build() takes them; \"\" for backprop.");
  fact(
      "weight_gradients_ascend", [](const Schedule& s) { return weight_gradients_ascend(s); },
      "True when gradients equal those of the plain run bit for bit.");
  fact(
      "activation_peak", [](const Schedule& s) { return most_activations_held(s); },
      "Memory of the rank that holds most until W, in M_B: what one micro-batch keeps on 1/N of\n"
      "the model.");
  fact(
      "placement", [](const Schedule& s) { return s.placement.replicas; },
      "The rank of each stage, for each replica of the weights.");
}

// Binds what a run shows for a run with costs of 1.
void bind_pictures(nb::class_<BoundSchedule>& type) {
  const auto picture = [&](const char* name, const char* signature, const char* text) {
    type.def(
        name,
        [name](const BoundSchedule& bound) {
          return nb::cast(simulate_plainly(bound)).attr(name)();
        },
        nb::sig(signature), text);
  };
  picture("svg", "def svg(self) -> str", "Returns the drawing of a run with F = I = W = 1.");
  picture("html", "def html(self) -> str", "Returns the page of that run.");
  picture("trace", "def trace(self) -> str", "Returns the JSON of that run for Perfetto.");
  picture("to_pandas", "def to_pandas(self) -> pandas.DataFrame", "Returns the table of that run.");
  picture("_repr_svg_", "def _repr_svg_(self) -> str", "");
}

constexpr const char* kScheduleHelp =
    "A valid schedule: a list of actions for each rank. It never changes; passes return others.\n\n"
    "Questions about channels are about its messages or, if its lists have none, about those that\n"
    "with_messages() adds. In a notebook it is drawn.";

constexpr const char* kVerifyHelp =
    "Checks that the schedule runs over these channels.\n\n"
    "channel: ``\"buffered\"`` (sends never wait), ``\"rendezvous\"`` (a send waits for its "
    "receive),\n"
    "    a number of messages that a channel holds, ``\"nccl\"`` (posted to a stream for each "
    "pair\n"
    "    and direction) or ``\"nccl-pair\"`` (a stream for each pair).\n"
    "activation_limit: M_B that a rank may hold until W.\n\n"
    "Raises ScheduleError for the first fault, with rank, position and action; its text has the\n"
    "lists around it. Linear in the number of actions.";

constexpr const char* kSimulateHelp =
    "Simulates a step: when each action runs, and what each rank holds.\n\n";

constexpr const char* kSimulateRest =
    "latency: of a message between two ranks (0, or that of the cost file).\n"
    "bandwidth: bytes per unit of time between two ranks (unlimited, or that of the cost file).\n"
    "channel: as in verify(). Where messages hold up their ranks, they are added.\n"
    "reduce_cost: time to sum the gradients of 1/N of the model over replicas.\n"
    "memory: bytes of each stage, as a path or a dictionary in the form of a memory file.\n"
    "repeat: simulate so many steps back to back; needs stage updates in the schedule.\n\n"
    "Raises ConfigError for costs of another schedule. Linear in the number of actions.";

}  // namespace

void bind_schedule(nb::module_& module) {
  nb::class_<TorchFinding>(module, "TorchFinding", "What PyTorch does not run as it should.")
      .def_prop_ro(
          "kind", [](const TorchFinding& one) { return name_of(one.kind); },
          "\"refused\": an error when it is loaded; \"wrong\": wrong gradients, or ranks\n"
          "that wait forever.")
      .def_ro("text", &TorchFinding::text, "One line: where, what happens, what to do.")
      .def("__repr__", [](const TorchFinding& one) {
        return fmt::format("<halfback.TorchFinding {}: {}>", name_of(one.kind), one.text);
      });

  static const std::string simulate_help = std::string(kSimulateHelp) + kCostHelp + kSimulateRest;
  nb::class_<BoundSchedule> type(module, "Schedule", kScheduleHelp);
  bind_facts(type);
  bind_measured(type);
  type.def_prop_ro("lists", &lists_of, "The actions of each rank as text.")
      .def_prop_ro("smallest_channel", &smallest_channel,
                   "The smallest number of messages that a channel has to hold; 0 is rendezvous.\n"
                   "None if only streams let the schedule run.")
      .def("stages_of", &stages_of, "rank"_a, "Returns the stages of a rank in model order.")
      .def("verify", &verify, "channel"_a = "buffered", nb::kw_only(),
           "activation_limit"_a = nb::none(), kVerifyHelp)
      .def("runs_on", &runs_on, "channel"_a, "Returns whether verify() accepts these channels.")
      .def("check_for_torch", &find_torch_faults,
           "Returns what the schedule runtime of torch.distributed.pipelining (2.13) refuses or\n"
           "runs wrongly: of the file that the schedule was loaded from, else of what\n"
           "``save(path, dialect=\"torch\")`` writes. Empty if it runs correctly.")
      .def(
          "simulate", &simulate_bound, "cost"_a = nb::none(), nb::kw_only(),
          "latency"_a = nb::none(), "bandwidth"_a = nb::none(), "channel"_a = "buffered",
          "reduce_cost"_a = 0.0, "memory"_a = nb::none(), "repeat"_a = nb::none(),
          nb::sig("def simulate(self, cost: Costs | None = None, *, latency: float | None = None, "
                  "bandwidth: float | None = None, channel: str = \"buffered\", reduce_cost: float "
                  "= 0.0, memory: Memory | None = None, repeat: int | None = None) -> Run"),
          simulate_help.c_str())
      .def(
          "with_messages",
          [](const BoundSchedule& bound, const std::string& channel) {
            const ChannelRule rule = parse_channel_rule(channel);
            return without_gil([&] { return BoundSchedule{with_messages(bound.schedule, rule)}; });
          },
          "channel"_a = "buffered",
          "Returns it with sends and receives in an order that runs over these channels, or as it\n"
          "is if it has messages.")
      .def("without_messages", pass(remove_communication), "Returns it without messages.")
      .def("with_updates", pass(add_updates),
           "Returns it with U after the last weight gradient of each stage.")
      .def("with_reductions", pass(add_gradient_reductions),
           "Returns it with REDUCE_GRAD where a replica of a stage has all its gradients, so that\n"
           "their sums overlap with what the ranks still compute.")
      .def(
          "data_parallel",
          [](const BoundSchedule& bound, int pipelines) {
            return without_gil(
                [&] { return BoundSchedule{data_parallel(bound.schedule, pipelines)}; });
          },
          "pipelines"_a, "Returns so many copies side by side that share a step.")
      .def(
          "with_losses",
          [](const BoundSchedule& bound, const std::string& losses) {
            return BoundSchedule{
                with_losses(bound.schedule, read_losses(losses, bound.schedule.num_stages()))};
          },
          "losses"_a, "Returns it with losses inside the model, as in ``\"1:0,3:2\"``.")
      .def("on_one_rank", pass(on_one_rank), "Returns the same stages, one after the other.")
      .def("to_csv", &csv_of, "dialect"_a = "halfback",
           "Returns its text: ``\"halfback\"`` with a header line, or ``\"torch\"``, as PyTorch\n"
           "reads it. Raises ConfigError for what PyTorch's dialect cannot express.")
      .def(
          "save",
          [](const BoundSchedule& bound, const Path& path, const std::string& dialect) {
            write_file_atomically(path, csv_of(bound, dialect));
          },
          "path"_a, "dialect"_a = "halfback", "Writes to_csv() to a file, whole or not at all.")
      .def(
          "__eq__",
          [](const BoundSchedule& one, const BoundSchedule& other) {
            return one.schedule == other.schedule;
          },
          nb::is_operator())
      .def("__repr__",
           [](const BoundSchedule& bound) {
             return fmt::format("<halfback.Schedule {}>", headline(bound.schedule));
           })
      .def("__str__",
           [](const BoundSchedule& bound) {
             return headline(bound.schedule) + '\n' +
                    draw_timeline(simulate_plainly(bound).result.timeline);
           })
      .def("__getstate__",
           [](const BoundSchedule& bound) { return std::pair(to_csv(bound.schedule), bound.text); })
      .def("__setstate__",
           [](BoundSchedule& bound, const std::pair<std::string, std::string>& state) {
             new (&bound) BoundSchedule{parse_schedule(state.first, "pickle"), state.second};
           });
  bind_pictures(type);

  module.def("load", &load, "path"_a,
             "Reads a schedule file, ours or PyTorch's, with or without messages.\n\n"
             "Raises FileError, and ScheduleError for a text or a schedule that is not valid.");
  module.def("parse", &parse, "text"_a, "source"_a = "schedule",
             "Reads the text of a schedule file. ``source`` is named in errors.\n\n"
             "Raises ScheduleError for a text or a schedule that is not valid.");
}

}  // namespace halfback::python
