#include "python/src/core/arguments.h"

#include "halfback/base/error.h"

#include <fmt/format.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <filesystem>
#include <string>
#include <vector>

namespace halfback::python {

namespace nb = nanobind;

namespace {

std::string to_json(nb::handle document) {
  return nb::cast<std::string>(nb::module_::import_("json").attr("dumps")(document));
}

bool is_path(nb::handle value) { return nb::hasattr(value, "__fspath__"); }

StageCost stage_cost(const std::vector<double>& times) {
  if (times.size() != 3 && times.size() != 4) {
    throw ConfigError(fmt::format(
        "cost: {} numbers for a stage; expected F, I, W and, optionally, B", times.size()));
  }
  StageCost cost{.forward = times[0], .input = times[1], .weight = times[2]};
  if (times.size() == 4) {
    cost.full = times[3];
  }
  return cost;
}

// Arrays of NumPy, torch and pandas become lists; everything else stays as it is.
nb::object as_list(nb::handle value) {
  return nb::hasattr(value, "tolist") ? value.attr("tolist")() : nb::borrow(value);
}

SimulationRequest costs_of_numbers(nb::handle cost) {
  const nb::object numbers = as_list(cost);
  std::vector<double> share;
  if (nb::try_cast(numbers, share)) {
    return {.costs = {.costs = {.stages = {stage_cost(share)}}}};
  }
  std::vector<std::vector<double>> rows;
  if (!nb::try_cast(numbers, rows)) {
    throw nb::type_error(
        "cost: expected \"f,i,w\", 3 or 4 numbers, a row of them for each stage, or a cost file as "
        "a path or a dictionary");
  }
  SimulationRequest request{.costs_are_share = false};
  request.costs.costs.stages.clear();
  for (const std::vector<double>& row : rows) {
    request.costs.costs.stages.push_back(stage_cost(row));
  }
  return request;
}

}  // namespace

SimulationRequest read_costs(nb::handle cost) {
  if (cost.is_none()) {
    return {};
  }
  if (nb::isinstance<nb::str>(cost)) {
    return {.costs = {.costs = parse_costs(nb::cast<std::string>(cost))}};
  }
  if (is_path(cost)) {
    return {.costs = load_cost_file(nb::cast<std::filesystem::path>(cost)),
            .costs_are_share = false};
  }
  if (nb::isinstance<nb::dict>(cost)) {
    return {.costs = parse_cost_file(to_json(cost), "cost"), .costs_are_share = false};
  }
  SimulationRequest request = costs_of_numbers(cost);
  request.costs.costs.check_values();
  return request;
}

MemoryModel read_memory(nb::handle memory) {
  if (nb::isinstance<nb::dict>(memory)) {
    return parse_memory_file(to_json(memory), "memory");
  }
  if (nb::isinstance<nb::str>(memory) || is_path(memory)) {
    return load_memory_file(nb::cast<std::filesystem::path>(memory));
  }
  throw nb::type_error("memory: expected a path or a dictionary, in the form of a memory file");
}

}  // namespace halfback::python
