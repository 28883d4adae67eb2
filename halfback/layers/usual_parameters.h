// The vectors that most layers have besides their matrices. Weight decay does not apply to them.
#pragma once

#include "halfback/layers/parameter.h"

namespace halfback {

// Returns a bias, which is added to the outputs. Its initial value is 0.
Parameter bias_parameter(std::string name, std::int64_t size, std::vector<NamedRows> rows = {});

// Returns a scale, which multiplies each channel. Its initial value is 1.
Parameter scale_parameter(std::string name, std::int64_t size);

}  // namespace halfback
