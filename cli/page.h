// What the page of a schedule shows: see halfback/timeline/report/report.h.
#pragma once

#include "halfback/simulate/memory_model.h"
#include "halfback/simulate/simulator.h"
#include "halfback/timeline/report/report.h"

#include <optional>

namespace halfback::cli {

// Returns the page of a schedule that was only simulated, in units of time; with the bytes of its
// stages, what ranks hold is in bytes.
Report simulated_page(const Schedule& schedule,
                      const CostModel& costs,
                      const SimulateOptions& options,
                      const std::optional<MemoryModel>& memory);

// Returns the page of a step that has run, and above it the same simulated with the median costs
// of its actions. The schedule is that which ran, with its messages.
Report measured_page(const Schedule& schedule, const Timeline& measured, const MemoryModel& memory);

}  // namespace halfback::cli
