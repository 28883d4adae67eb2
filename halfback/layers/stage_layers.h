// The layers of one stage in model order, and the loss on the last stage.
#pragma once

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

// Bytes of one stage for one micro-batch, from the formulas of its layers.
struct StageFootprint {
  SavedBytes saved;
  std::int64_t activation = 0;  // handed to the next stage; 0 on the last
  std::int64_t gradient = 0;    // handed to the previous stage; 0 on the first
};

// Returns the footprint of every stage for an input of this shape to the first one.
std::vector<StageFootprint> footprints(const std::vector<StageLayers>& stages,
                                       std::vector<std::int64_t> input_shape,
                                       std::int64_t element_bytes);

}  // namespace halfback
