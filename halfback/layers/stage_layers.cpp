#include "halfback/layers/stage_layers.h"

#include "halfback/layers/shapes.h"

#include <utility>

namespace halfback {

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

std::vector<StageFootprint> footprints(const std::vector<StageLayers>& stages,
                                       std::vector<std::int64_t> input_shape,
                                       std::int64_t element_bytes) {
  std::vector<StageFootprint> all;
  std::vector<std::int64_t> shape = std::move(input_shape);
  for (std::size_t stage = 0; stage < stages.size(); ++stage) {
    StageFootprint footprint{.gradient = stage == 0 ? 0 : numel(shape) * element_bytes};
    for (const auto& layer : stages[stage].layers) {
      footprint.saved += layer->saved_bytes(shape, element_bytes);
      shape = layer->output_shape(shape);
    }
    if (stages[stage].loss) {
      footprint.saved += stages[stage].loss->saved_bytes(shape, element_bytes);
    } else {
      footprint.activation = numel(shape) * element_bytes;
    }
    all.push_back(footprint);
  }
  return all;
}

}  // namespace halfback
