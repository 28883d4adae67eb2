// Prints the operations of models as JSON, for tests/python/flops_agree.py to compare: for each,
// its sizes, and the sums over the layers and the head.
#include "halfback/layers/stage_layers.h"
#include "halfback/measure/flop_costs.h"
#include "halfback/models/local_heads.h"
#include "halfback/models/model.h"
#include "halfback/schedule/families.h"

#include <nlohmann/json.hpp>

#include <iostream>

namespace {

using namespace halfback;

nlohmann::json json_of(const Flops& flops) { return {flops.forward, flops.input, flops.weight}; }

constexpr std::int64_t kNumSamples = 3;

void add(nlohmann::json& all, const char* name, const ModelConfig& config) {
  const StageFlops found =
      stage_flops(build_model(config, {num_blocks(config)}), input_shape(config, kNumSamples))
          .front();
  all[name] = {{"layers", json_of(found.layers)}, {"head", json_of(found.head)}};
}

// Each layer of an MLP has a head of its own, and no gradient goes from one to the other.
void add_greedy(nlohmann::json& all, const MlpConfig& config) {
  const int num_stages = static_cast<int>(config.num_layers);
  PipelineShape shape;
  shape.num_ranks = num_stages;
  shape.num_micro_batches = 1;
  const Losses losses = build_schedule("local-greedy", shape).losses;
  const std::vector<StageFlops> stages =
      stage_flops(build_model(config, std::vector<int>(config.num_layers, 1),
                              {.stages_with_loss = stages_with_loss(losses, num_stages)}),
                  input_shape(ModelConfig(config), kNumSamples));
  double forward = 0.0, input = 0.0, weight = 0.0;
  for (const StageCost& cost : flop_costs(stages, losses).stages) {
    forward += cost.forward;
    input += cost.input;
    weight += cost.weight;
  }
  all["greedy mlp"] = {{"layers", {forward, input, weight}}};
}

}  // namespace

int main() {
  nlohmann::json all;
  add(all, "llama",
      LlamaConfig{.num_layers = 3,
                  .width = 48,
                  .num_heads = 4,
                  .num_key_value_heads = 2,
                  .hidden = 72,
                  .sequence = 20,
                  .vocabulary = 70});
  add(all, "bert",
      BertConfig{.num_layers = 3,
                 .width = 48,
                 .num_heads = 4,
                 .hidden = 72,
                 .sequence = 20,
                 .vocabulary = 70});
  add(all, "mamba",
      MambaConfig{.num_layers = 3,
                  .width = 48,
                  .state_size = 8,
                  .conv_size = 4,
                  .sequence = 20,
                  .vocabulary = 70});
  const MlpConfig mlp{.num_layers = 4, .num_inputs = 30, .width = 24, .num_classes = 7};
  add(all, "mlp", mlp);
  add_greedy(all, mlp);
  add(all, "cnn", CnnConfig{.width = 6, .hidden = 24, .num_classes = 7});
  for (const std::int64_t depth : {18, 50}) {
    ResnetConfig resnet{.depth = depth, .num_classes = 7, .image_channels = 3};
    resnet.image_height = resnet.image_width = 64;
    resnet.has_small_stem = false;
    add(all, depth == 18 ? "resnet18" : "resnet50", resnet);
  }
  std::cout << all.dump() << '\n';
}
