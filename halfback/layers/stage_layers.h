// The layers of one stage in model order, and the loss on the last stage.
#pragma once

#include "halfback/base/stage_bytes.h"
#include "halfback/layers/layer.h"

#include <memory>
#include <vector>

namespace halfback {

struct StageLayers {
  std::vector<std::unique_ptr<Layer>> layers;
  std::unique_ptr<LossLayer> loss;  // on the last stage only

  // Returns the parameters in model order.
  std::vector<Parameter*> parameters() const;
};

// Returns the bytes of every stage for an input of this shape to the first one, from the formulas
// of the layers. What comes from outside the model is no message: 0 bytes.
std::vector<StageBytes> stage_bytes(const std::vector<StageLayers>& stages,
                                    std::vector<std::int64_t> input_shape,
                                    std::int64_t element_bytes);

}  // namespace halfback
