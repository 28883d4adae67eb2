// The layers of one stage in model order, and the loss after them on the last stage, or on any
// stage with a local head.
#pragma once

#include "halfback/base/stage_bytes.h"
#include "halfback/layers/layer.h"

#include <memory>
#include <vector>

namespace halfback {

// The part of a model that a layer belongs to.
struct LayerPlace {
  int block = -1;  // of the model; -1: none, as for an embedding
  enum class Part { Other, Attention, FeedForward } part = Part::Other;
};

struct StageLayers {
  std::vector<std::unique_ptr<Layer>> layers;
  std::vector<LayerPlace> places;   // of the layers
  std::unique_ptr<LossLayer> loss;  // null without a loss

  void add(std::unique_ptr<Layer> layer, const LayerPlace& place = {});

  // Returns the parameters in model order.
  std::vector<Parameter*> parameters() const;
};

// Which layers keep less and recompute.
struct Recompute {
  enum class Forward { Kept, OfBlocks, OfAttention, OfFeedForward } recomputed = Forward::Kept;
  bool recomputes_gradients = false;  // inside blocks

  bool operator==(const Recompute&) const = default;
};

// Wraps the chosen layers in Recomputed. Throws ConfigError if there are none to wrap.
void apply_recompute(const Recompute& recompute, std::vector<StageLayers>& stages);

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

// Returns the bytes of every stage for such an input to the first stage, from the layers' formulas.
// The model's own input is not a message: 0 bytes.
std::vector<StageBytes> stage_bytes(const std::vector<StageLayers>& stages,
                                    const MicroBatchShape& micro_batch);

// The operations of a stage for one micro-batch: those of its layers, and of its loss if it has
// one.
struct StageFlops {
  Flops layers;
  Flops head;
};

// Returns those of every stage for such an input to the first stage. Modules of libtorch count 0.
std::vector<StageFlops> stage_flops(const std::vector<StageLayers>& stages, Shape input_shape);

}  // namespace halfback
