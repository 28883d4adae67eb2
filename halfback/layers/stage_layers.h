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

// One micro-batch.
struct MicroBatchShape {
  std::vector<std::int64_t> input_shape;  // of the first tensor
  std::int64_t element_bytes = 4;         // of activations
  std::int64_t riding_bytes = 0;          // of all tensors behind the first
};

// Returns the bytes of every stage for such an input to the first one, from the formulas of the
// layers. What comes from outside the model is no message: 0 bytes.
std::vector<StageBytes> stage_bytes(const std::vector<StageLayers>& stages,
                                    const MicroBatchShape& micro_batch);

}  // namespace halfback
