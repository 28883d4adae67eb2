// Your own torch::nn module over four pipeline stages, with the split backward.
//
//   stage 0          stage 1          stage 2          stage 3
//   Linear, Block    Block, Block     Block, Block     Block, loss
//
// It learns which of two spirals a point is on, beside the same model on one rank.
#include "halfback/engine/pipeline.h"
#include "halfback/layers/classifier_head.h"
#include "halfback/layers/module_layer.h"
#include "halfback/schedule/families.h"

#include <torch/torch.h>

#include <cstdio>

using namespace halfback;

constexpr int kNumMicroBatches = 8;
constexpr std::int64_t kWidth = 32;

// x + MLP(norm(x))
struct BlockImpl : torch::nn::Module {
  torch::nn::LayerNorm norm{torch::nn::LayerNormOptions({kWidth})};
  torch::nn::Linear up{kWidth, 4 * kWidth}, down{4 * kWidth, kWidth};

  BlockImpl() {
    register_module("norm", norm), register_module("up", up), register_module("down", down);
  }
  torch::Tensor forward(const torch::Tensor& x) { return x + down(torch::gelu(up(norm(x)))); }
};
TORCH_MODULE(Block);

std::vector<StageLayers> build(int num_stages) {
  torch::manual_seed(1);  // the same initial values, however the model is cut
  std::vector<StageLayers> stages(static_cast<std::size_t>(num_stages));
  stages.front().add(module_layer("in", torch::nn::Linear(2, kWidth),
                                  {.input = AutogradLayer::Options::Input::Data}));
  for (int i = 0; i < 6; ++i) {
    StageLayers& stage = stages[static_cast<std::size_t>((i + 1) * num_stages / 8)];
    stage.add(module_layer("block." + std::to_string(i), Block()));
  }
  stages.back().loss = std::make_unique<ClassifierHead>(
      "out", ClassifierHead::Options{.num_channels = kWidth, .num_classes = 2});
  return stages;
}

std::vector<MicroBatch> spirals() {
  std::vector<MicroBatch> batches;
  for (int i = 0; i < kNumMicroBatches; ++i) {
    const torch::Tensor arm = torch::arange(64) % 2;
    const torch::Tensor angle = torch::linspace(1.0 + 0.01 * i, 7.0 + 0.01 * i, 64);
    const torch::Tensor turned = angle + arm * M_PI;
    batches.push_back({{torch::stack({angle * turned.cos(), angle * turned.sin()}, 1) / 4}, arm});
  }
  return batches;
}

std::unique_ptr<Pipeline> start(const char* schedule, int num_ranks) {
  auto pipeline = std::make_unique<Pipeline>(
      build(num_ranks), make_runnable(build_schedule(schedule, {num_ranks, kNumMicroBatches})),
      PipelineOptions());
  pipeline->initialize(/*seed=*/1);
  return pipeline;
}

int main() {
  const auto four = start("1f1b-2", 4);
  const auto one = start("gpipe", 1);
  bool is_equal = true;
  for (int step = 1; step <= 60; ++step) {
    const StepResult found = four->train_step(spirals(), {.number = step, .learning_rate = 1e-3});
    const StepResult alone = one->train_step(spirals(), {.number = step, .learning_rate = 1e-3});
    is_equal &= found.loss == alone.loss && found.gradient_norm == alone.gradient_norm;
    if (step % 20 == 1 || step == 60) {
      std::printf("step %2d  loss %.4f\n", step, found.loss);
    }
  }
  std::printf("loss and gradients on 4 ranks and on 1: %s\n", is_equal ? "bit-equal" : "not equal");
  return is_equal ? 0 : 1;
}
