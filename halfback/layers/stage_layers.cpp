#include "halfback/layers/stage_layers.h"

#include "halfback/base/error.h"
#include "halfback/layers/recomputed.h"
#include "halfback/layers/sequence.h"
#include "halfback/layers/shapes.h"

#include <algorithm>
#include <utility>

namespace halfback {

namespace {

using Part = LayerPlace::Part;
using Forward = Recompute::Forward;

bool is_recomputed(const Recompute& recompute, const LayerPlace& place) {
  switch (recompute.recomputed) {
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

// Returns the policy of a layer in a block.
RecomputePolicy policy_of(const Recompute& recompute, const LayerPlace& place) {
  return {.recomputes_forward = is_recomputed(recompute, place),
          .recomputes_gradients = recompute.recomputes_gradients};
}

// Wraps adjacent layers of one block with one policy as one layer. Layers without a policy stay as
// they are. Returns whether it wrapped any.
bool apply(const Recompute& recompute, StageLayers& stage) {
  StageLayers result;
  bool found = false;
  for (std::size_t i = 0; i < stage.layers.size();) {
    const LayerPlace& place = stage.places[i];
    const RecomputePolicy policy =
        place.block < 0 ? RecomputePolicy{} : policy_of(recompute, place);
    if (policy == RecomputePolicy{}) {
      result.add(std::move(stage.layers[i]), place);
      ++i;
      continue;
    }
    std::vector<std::unique_ptr<Layer>> group;
    const int block = place.block;
    while (i < stage.layers.size() && stage.places[i].block == block &&
           policy_of(recompute, stage.places[i]) == policy) {
      group.push_back(std::move(stage.layers[i++]));
    }
    result.add(std::make_unique<Recomputed>(std::move(group), policy), {.block = block});
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

void apply_recompute(const Recompute& recompute, std::vector<StageLayers>& stages) {
  if (recompute == Recompute{}) {
    return;
  }
  bool found = false;
  for (StageLayers& stage : stages) {
    found = apply(recompute, stage) || found;
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
  std::vector<Shape> shapes = {micro_batch.input_shape};
  std::int64_t side_bytes = 0;
  for (const MicroBatchShape::SideInput& side : micro_batch.side_inputs) {
    shapes.push_back(side.shape);
    side_bytes += numel(side.shape) * side.element_bytes;
  }
  std::vector<StageBytes> all;
  for (const StageLayers& stage : stages) {
    SavedBytes saved;
    StageBytes bytes;
    if (!all.empty()) {
      saved.until_weight = side_bytes;
      bytes.activation_message = numel(shapes.front()) * element_bytes + side_bytes;
    }
    Described described = describe_in_turn(stage.layers, std::move(shapes), element_bytes);
    shapes = std::move(described.shapes);
    saved += described.bytes;
    if (stage.loss) {
      const SavedBytes head = stage.loss->saved_bytes(shapes.front(), element_bytes);
      bytes.head = {head.until_input, head.until_weight, head.gradients};
      saved += head;
    }
    if (&stage != &stages.back()) {
      bytes.gradient_message = numel(shapes.front()) * element_bytes;
    }
    bytes.until_input = saved.until_input;
    bytes.until_weight = saved.until_weight;
    bytes.gradients = saved.gradients;
    bytes.is_exact = saved.is_exact;
    all.push_back(bytes);
  }
  return all;
}

std::vector<StageFlops> stage_flops(const std::vector<StageLayers>& stages, Shape input_shape) {
  std::vector<Shape> shapes = {std::move(input_shape)};
  std::vector<StageFlops> all;
  for (const StageLayers& stage : stages) {
    StageFlops& flops = all.emplace_back();
    Described described = describe_in_turn(stage.layers, std::move(shapes), sizeof(float));
    shapes = std::move(described.shapes);
    flops.layers = described.flops;
    if (stage.loss) {
      flops.head = stage.loss->flops(shapes.front());
    }
  }
  return all;
}

}  // namespace halfback
