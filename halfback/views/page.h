// What the page of a schedule shows: see halfback/timeline/report/report.h.
#pragma once

#include "halfback/simulate/memory_model.h"
#include "halfback/simulate/simulator.h"
#include "halfback/timeline/report/report.h"

#include <cstddef>
#include <optional>
#include <vector>

namespace halfback {

// Returns the spans of a simulated timeline that determined its makespan, in order of time.
std::vector<std::size_t> critical_spans(const Timeline& timeline,
                                        const Schedule& schedule,
                                        const CostModel& costs,
                                        const SimulateOptions& options);

// Returns the page of a schedule that was only simulated, in units of time. With the bytes of its
// stages, what ranks hold is shown in bytes.
Report simulated_page(const Schedule& schedule,
                      const CostModel& costs,
                      const SimulateOptions& options,
                      const std::optional<MemoryModel>& memory);

// Returns the page of a step that has run, below the same step simulated with the median costs of
// its actions. `schedule` is the one that ran, with its messages. Memory as above.
Report measured_page(const Schedule& schedule,
                     const Timeline& measured,
                     const std::optional<MemoryModel>& memory);

}  // namespace halfback
