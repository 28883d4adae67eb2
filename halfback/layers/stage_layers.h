// The layers of one stage in model order, and the loss behind them on the last stage, or with a
// local head on any.
#pragma once

#include "halfback/base/stage_bytes.h"
#include "halfback/layers/layer.h"

#include <memory>
#include <vector>

namespace halfback {

// What part of a model a layer is.
struct LayerPlace {
  int block = -1;  // of the model; -1: none, as of an embedding
  enum class Part { Other, Attention, FeedForward } part = Part::Other;
};

struct StageLayers {
  std::vector<std::unique_ptr<Layer>> layers;
  std::vector<LayerPlace> places;   // of the layers
  std::unique_ptr<LossLayer> loss;  // none where no loss stands

  void add(std::unique_ptr<Layer> layer, const LayerPlace& place = {});

  // Returns the parameters in model order.
  std::vector<Parameter*> parameters() const;
};

// Of which layers less is kept.
struct Checkpointing {
  enum class Forward { Kept, OfBlocks, OfAttention, OfFeedForward } recomputed = Forward::Kept;
  bool recomputes_gradients = false;  // inside blocks

  bool operator==(const Checkpointing&) const = default;
};

// Puts the layers that it is about into Checkpointed ones. Throws ConfigError when there are none.
void apply_checkpointing(const Checkpointing& checkpointing, std::vector<StageLayers>& stages);

// One micro-batch.
struct MicroBatchShape {
  Shape input_shape;
  std::int64_t element_bytes = 4;  // of activations
  struct SideInput {
    Shape shape;
    std::int64_t element_bytes = 8;
  };
  std::vector<SideInput> side_inputs = {};
};

// Returns the bytes of every stage for such an input to the first one, from the formulas of the
// layers. What comes from outside the model is not a message: 0 bytes.
std::vector<StageBytes> stage_bytes(const std::vector<StageLayers>& stages,
                                    const MicroBatchShape& micro_batch);

}  // namespace halfback
