// Prints the operations of models as JSON, for tests/python/flops_agree.py to compare: for each,
// its sizes, and the sums over the layers and the head.
#include "halfback/layers/stage_layers.h"
#include "halfback/models/model.h"

#include <nlohmann/json.hpp>

#include <iostream>

namespace {

using namespace halfback;

nlohmann::json json_of(const Flops& flops) { return {flops.forward, flops.input, flops.weight}; }

void add(nlohmann::json& all, const char* name, const ModelConfig& config) {
  constexpr std::int64_t kNumSamples = 3;
  const StageFlops found =
      stage_flops(build_model(config, {num_blocks(config)}), input_shape(config, kNumSamples))
          .front();
  all[name] = {{"layers", json_of(found.layers)}, {"head", json_of(found.head)}};
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
  add(all, "mlp", MlpConfig{.num_layers = 4, .num_inputs = 30, .width = 24, .num_classes = 7});
  add(all, "cnn", CnnConfig{.width = 6, .hidden = 24, .num_classes = 7});
  for (const std::int64_t depth : {18, 50}) {
    ResnetConfig resnet{.depth = depth, .num_classes = 7, .image_channels = 3};
    resnet.image_height = resnet.image_width = 64;
    resnet.has_small_stem = false;
    add(all, depth == 18 ? "resnet18" : "resnet50", resnet);
  }
  std::cout << all.dump() << '\n';
}
