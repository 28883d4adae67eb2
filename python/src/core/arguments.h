// Costs and bytes as Python has them: text, numbers, arrays, dictionaries or files.
#pragma once

#include "halfback/views/simulation.h"

#include <nanobind/nanobind.h>

namespace halfback::python {

// What the docstrings say of costs.
inline constexpr const char* kCostHelp =
    "cost: times of actions. ``\"f,i,w\"`` or ``\"f,i,w,b\"``, or these 3 or 4 numbers: F, I, W "
    "and,\n"
    "    optionally, B for 1/N of the model on N ranks; of S stages each takes N/S of them. A row "
    "of\n"
    "    such numbers for each stage, as an array of shape [stages, 3] or [stages, 4]: the times "
    "of\n"
    "    the stages. A path or a dictionary: a cost file, as ``halfback profile`` writes it. "
    "Default:\n"
    "    ``\"1,1,1\"``. Any unit of time.\n";

// Returns a request with these costs. Throws ConfigError, FileError, and TypeError for other types.
SimulationRequest read_costs(nanobind::handle cost);

// Returns the bytes of stages, from a path or a dictionary in the form of a memory file.
MemoryModel read_memory(nanobind::handle memory);

}  // namespace halfback::python
