#include "halfback/layers/stage_layers.h"

#include "halfback/layers/shapes.h"

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

std::vector<StageBytes> stage_bytes(const std::vector<StageLayers>& stages,
                                    const MicroBatchShape& micro_batch) {
  const std::int64_t element_bytes = micro_batch.element_bytes;
  std::vector<StageBytes> all;
  std::vector<std::int64_t> shape = micro_batch.input_shape;
  for (const StageLayers& stage : stages) {
    const std::int64_t riders = all.empty() ? 0 : micro_batch.riding_bytes;
    SavedBytes saved{.until_input = riders};
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
