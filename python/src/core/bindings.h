// The parts of the module, each bound in its own file.
#pragma once

#include "halfback/schedule/schedule.h"
#include "halfback/views/simulation.h"

#include <nanobind/nanobind.h>

#include <string>

namespace halfback::python {

// A schedule in Python: always valid, and never changed.
struct BoundSchedule {
  Schedule schedule;
  std::string text = "";  // of the file that it comes from, if any: PyTorch may read it differently
};

// Calls a function that takes time, while other threads of Python run.
template <typename Function>
auto without_gil(Function function) {
  const nanobind::gil_scoped_release release;
  return function();
}

void bind_families(nanobind::module_& module);
void bind_schedule(nanobind::module_& module);
void bind_run(nanobind::module_& module);
void bind_measured(nanobind::class_<BoundSchedule>& type);

}  // namespace halfback::python
