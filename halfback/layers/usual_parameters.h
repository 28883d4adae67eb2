// The parameters that most layers have beside their matrices: rows of numbers, which weight decay
// leaves alone.
#pragma once

#include "halfback/layers/parameter.h"

namespace halfback {

// Returns what is added to the outputs. It starts at 0.
Parameter bias_parameter(std::string name, std::int64_t size, std::vector<NamedRows> rows = {});

// Returns what each channel is multiplied by. It starts at 1.
Parameter scale_parameter(std::string name, std::int64_t size);

}  // namespace halfback
