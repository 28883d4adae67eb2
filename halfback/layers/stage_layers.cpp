#include "halfback/layers/stage_layers.h"

#include "halfback/base/error.h"
#include "halfback/layers/checkpointed.h"
#include "halfback/layers/shapes.h"

#include <algorithm>
#include <utility>

namespace halfback {

namespace {

using Part = LayerPlace::Part;
using Forward = Checkpointing::Forward;

bool is_recomputed(const Checkpointing& checkpointing, const LayerPlace& place) {
  switch (checkpointing.recomputed) {
    case Forward::Kept:
      return false;
    case Forward::OfBlocks:
      return true;
    case Forward::OfAttention:
      return place.part == Part::Attention;
    case Forward::OfFeedForward:
      return place.part == Part::FeedForward;
  }
  return false;
}

// What is done to a layer that stands in a block.
CheckpointPolicy policy_of(const Checkpointing& checkpointing, const LayerPlace& place) {
  return {.recomputes_forward = is_recomputed(checkpointing, place),
          .recomputes_gradients = checkpointing.recomputes_gradients};
}

// Layers of one block with one policy become one; what stays as it is has a policy of none.
bool apply(const Checkpointing& checkpointing, StageLayers& stage) {
  StageLayers result;
  bool found = false;
  for (std::size_t i = 0; i < stage.layers.size();) {
    const LayerPlace& place = stage.places[i];
    const CheckpointPolicy policy =
        place.block < 0 ? CheckpointPolicy{} : policy_of(checkpointing, place);
    if (policy == CheckpointPolicy{}) {
      result.add(std::move(stage.layers[i]), place);
      ++i;
      continue;
    }
    std::vector<std::unique_ptr<Layer>> group;
    const int block = place.block;
    while (i < stage.layers.size() && stage.places[i].block == block &&
           policy_of(checkpointing, stage.places[i]) == policy) {
      group.push_back(std::move(stage.layers[i++]));
    }
    result.add(std::make_unique<Checkpointed>(std::move(group), policy), {.block = block});
    found = true;
  }
  stage.layers = std::move(result.layers);
  stage.places = std::move(result.places);
  return found;
}

}  // namespace

void StageLayers::add(std::unique_ptr<Layer> layer, const LayerPlace& place) {
  layers.push_back(std::move(layer));
  places.push_back(place);
}

void apply_checkpointing(const Checkpointing& checkpointing, std::vector<StageLayers>& stages) {
  if (checkpointing == Checkpointing{}) {
    return;
  }
  bool found = false;
  for (StageLayers& stage : stages) {
    found = apply(checkpointing, stage) || found;
  }
  if (!found) {
    throw ConfigError(
        "model: it has no layers of the kind that --recompute names; use "
        "--recompute block");
  }
}

std::vector<Parameter*> StageLayers::parameters() const {
  std::vector<Parameter*> all;
  const auto append = [&all](const std::vector<Parameter*>& some) {
    all.insert(all.end(), some.begin(), some.end());
  };
  for (const auto& layer : layers) {
    append(layer->parameters());
  }
  if (loss) {
    append(loss->parameters());
  }
  return all;
}

std::vector<StageBytes> stage_bytes(const std::vector<StageLayers>& stages,
                                    const MicroBatchShape& micro_batch) {
  const std::int64_t element_bytes = micro_batch.element_bytes;
  std::vector<StageBytes> all;
  std::vector<std::int64_t> shape = micro_batch.input_shape;
  for (const StageLayers& stage : stages) {
    const std::int64_t riders = all.empty() ? 0 : micro_batch.riding_bytes;
    SavedBytes saved{.until_weight = riders};
    StageBytes bytes{.activation_message = all.empty() ? 0 : numel(shape) * element_bytes + riders};
    for (const auto& layer : stage.layers) {
      saved += layer->saved_bytes(shape, element_bytes);
      shape = layer->output_shape(shape);
    }
    if (stage.loss) {
      saved += stage.loss->saved_bytes(shape, element_bytes);
    } else {
      bytes.gradient_message = numel(shape) * element_bytes;
    }
    bytes.until_input = saved.until_input;
    bytes.until_weight = saved.until_weight;
    bytes.gradients = saved.gradients;
    all.push_back(bytes);
  }
  return all;
}

}  // namespace halfback
