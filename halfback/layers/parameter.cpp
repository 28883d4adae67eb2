#include "halfback/layers/parameter.h"

#include "halfback/layers/shapes.h"

namespace halfback {

std::int64_t Parameter::numel() const { return halfback::numel(shape); }

}  // namespace halfback
