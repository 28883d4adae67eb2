#include "halfback/schedule/families.h"

#include "halfback/base/text.h"
#include "halfback/schedule/source.h"
#include "python/src/core/arguments.h"
#include "python/src/core/bindings.h"

#include <fmt/format.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

namespace halfback::python {

namespace nb = nanobind;

namespace {

// "--stages-per-rank" is stages_per_rank.
std::string name_of(const FamilyParameter& row) {
  std::string name = row.option.substr(2);
  std::ranges::replace(name, '-', '_');
  return name;
}

const char* type_of(const FamilyParameter& row) {
  const auto name = []<typename Value>(Value PipelineShape::*) {
    return std::is_same_v<Value, int> ? "int" : std::is_same_v<Value, double> ? "float" : "bool";
  };
  return std::visit(name, row.member);
}

double value_of(const FamilyParameter& row, nb::handle value) {
  const auto read = [&]<typename Value>(Value PipelineShape::*) {
    using Given = std::conditional_t<std::is_arithmetic_v<Value>, Value, bool>;
    Given given{};
    if (!nb::try_cast(value, given)) {
      throw nb::type_error(fmt::format("{}: expected {}", name_of(row), type_of(row)).c_str());
    }
    return static_cast<double>(given);
  };
  return std::visit(read, row.member);
}

// Takes the argument of that name out of the dictionary.
template <typename Value>
std::optional<Value> take(nb::dict& arguments, const char* name, const char* type) {
  if (!arguments.contains(name)) {
    return std::nullopt;
  }
  const nb::object value = arguments[name];
  nb::del(arguments[name]);
  if (value.is_none()) {
    return std::nullopt;
  }
  Value result{};
  if (!nb::try_cast(value, result)) {
    throw nb::type_error(fmt::format("{}: expected {}", name, type).c_str());
  }
  return result;
}

constexpr const char* kArguments[][2] = {
    {"ranks", "int"},         {"micro_batches", "int"}, {"two_stage", "bool"},
    {"data_parallel", "int"}, {"losses", "str"},        {"loss_weights", "str"},
    {"queue", "str"},         {"cost", "Costs"},        {"latency", "float"}};

[[noreturn]] void refuse(const nb::dict& unknown) {
  std::vector<std::string> known;
  for (const auto& [name, type] : kArguments) {
    known.emplace_back(name);
  }
  std::ranges::transform(family_parameters(), std::back_inserter(known), name_of);
  const std::string name = nb::cast<std::string>((*unknown.begin()).first);
  throw nb::type_error(fmt::format("build() got an unexpected keyword argument '{}'{}", name,
                                   suggestion(name, known))
                           .c_str());
}

void take_parameters(nb::dict& arguments, GivenParameters& given) {
  for (const FamilyParameter& row : family_parameters()) {
    const std::string name = name_of(row);
    if (const auto value = take<nb::object>(arguments, name.c_str(), type_of(row))) {
      given[&row] = value_of(row, *value);
    }
  }
}

ShapeRequest read_shape(nb::dict& arguments) {
  ShapeRequest request{.num_ranks = take<int>(arguments, "ranks", "int"),
                       .num_micro_batches = take<int>(arguments, "micro_batches", "int"),
                       .two_stage = take<bool>(arguments, "two_stage", "bool"),
                       .losses = take<std::string>(arguments, "losses", "str"),
                       .weight_rule = take<std::string>(arguments, "loss_weights", "str"),
                       .queues = take<std::string>(arguments, "queue", "str"),
                       .num_pipelines = take<int>(arguments, "data_parallel", "int").value_or(1)};
  const nb::object cost = take<nb::object>(arguments, "cost", "Costs").value_or(nb::none());
  CostModel costs = read_costs(cost).costs.costs;
  costs.latency = take<double>(arguments, "latency", "float").value_or(costs.latency);
  request.times = share_times(costs, request.num_ranks.value_or(kDefaultRanks));
  take_parameters(arguments, request.parameters);
  if (arguments.size() > 0) {
    refuse(arguments);
  }
  return request;
}

BoundSchedule build(const std::string& name, const nb::kwargs& arguments) {
  nb::dict rest;
  rest.update(arguments);
  const ShapeRequest request = read_shape(rest);
  family(name);  // a file is not built
  return without_gil([&] { return BoundSchedule{load_or_build(name, request)}; });
}

// The signature and the text of build() come from the table of parameters. Both live as long as the
// module.
const std::string& signature() {
  static const std::string text = [] {
    std::string result = "def build(name: str, *";
    for (const auto& [name, type] : kArguments) {
      result += fmt::format(", {}: {} | None = None", name, type);
    }
    for (const FamilyParameter& row : family_parameters()) {
      result += fmt::format(", {}: {} | None = None", name_of(row), type_of(row));
    }
    return result + ") -> Schedule";
  }();
  return text;
}

const std::string& help() {
  static const std::string text = [] {
    std::string result =
        "Builds the schedule of a family, or of a training scheme.\n\n"
        "Arguments have the names and the meaning of the options of ``halfback schedule``:\n\n"
        "name: of a family, as in families(), or of a scheme, such as ``\"backprop\"`` or\n"
        "    ``\"greedy\"``.\n"
        "ranks: number of ranks (4).\n"
        "micro_batches: in a step (as the family's name says, or one per rank).\n"
        "two_stage: split the backward into I and W (True).\n"
        "data_parallel: pipelines that share a step, each with its own weights (1).\n"
        "losses, loss_weights: losses inside the model, as in ``\"1:0,3:2\"``: see\n"
        "    ``halfback schedule --help``.\n"
        "queue: micro-batches that wait between blocks, as in ``\"2\"`` or ``\"1,0,8\"``.\n";
    result += kCostHelp;
    result +=
        "latency: of a message between two ranks (0). Families that search for an order use\n"
        "    these times.\n";
    for (const FamilyParameter& row : family_parameters()) {
      result += fmt::format("{}: {}.\n", name_of(row), row.help);
    }
    return result +
           "\nRaises ConfigError for an unknown name, with a suggestion, and for a shape or a\n"
           "parameter that the family does not admit.";
  }();
  return text;
}

std::vector<std::string> parameters_of(const Family& one) {
  std::vector<std::string> names;
  for (const FamilyParameter& row : family_parameters()) {
    if (one.has(row)) {
      names.push_back(name_of(row));
    }
  }
  return names;
}

}  // namespace

void bind_families(nb::module_& module) {
  nb::class_<Family>(module, "Family", "A family of schedules. Texts are for people.")
      .def_ro("name", &Family::name, "What build() takes.")
      .def_ro("summary", &Family::summary, "One line.")
      .def_ro("conditions", &Family::conditions, "On N ranks and M micro-batches.")
      .def_ro("idle", &Family::idle,
              "Idle time of a rank in a step, with F = I = W = 1 on 1/N of the model, the split\n"
              "backward and no communication.")
      .def_ro(
          "peak_memory", &Family::peak_memory,
          "What the worst rank holds until W, in M_B: what one micro-batch keeps on 1/N of the\n"
          "model.")
      .def_ro("messages", &Family::messages, "Between ranks, for one micro-batch.")
      .def_ro("replicas", &Family::replicas, "Replicas of the weights.")
      .def_ro("paper", &Family::paper, "Where it was published; \"\" for our own.")
      .def_prop_ro("parameters", &parameters_of,
                   "Names of the arguments of build() that it takes besides those of all families.")
      .def("__repr__", [](const Family& one) {
        return fmt::format("<halfback.Family {}: {}>", one.name, one.summary);
      });
  module.def(
      "families", [] { return families(); }, "Returns all families, in the order of listings.");
  module.def("build", &build, nb::arg("name"), nb::arg("arguments"), nb::sig(signature().c_str()),
             help().c_str());
}

}  // namespace halfback::python
