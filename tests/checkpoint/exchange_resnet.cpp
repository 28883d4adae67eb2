// For torchvision_loads.py. CONFIG is a file as resnet_json.h has it. Both ways write the logits of
// fixed images, in evaluation, to LOGITS:
//
//   exchange_resnet train CONFIG STATE LOGITS
//       trains for some steps of two micro-batches and writes all parameters and statistics
//   exchange_resnet load CONFIG STATE LOGITS
//       reads them, as torch's state_dict has them

#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/base/json.h"
#include "halfback/checkpoint/resnet_json.h"
#include "halfback/checkpoint/safetensors.h"
#include "halfback/checkpoint/safetensors_write.h"
#include "halfback/engine/plain_run.h"
#include "halfback/layers/classifier_head.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <nlohmann/json.hpp>

#include <exception>
#include <iostream>
#include <string>
#include <vector>

namespace {

using halfback::MicroBatch;
using halfback::NamedTensor;
using halfback::Parameter;
using halfback::PlainRun;
using halfback::ResnetConfig;

MicroBatch images_of(const ResnetConfig& config, std::uint64_t key) {
  at::Generator generator = at::detail::createCPUGenerator(key);
  return {{at::randn({4, config.image_channels, config.image_height, config.image_width}, generator,
                     at::TensorOptions(at::kFloat))},
          at::randint(config.num_classes, {4}, generator, at::kLong)};
}

PlainRun make_run(const ResnetConfig& config) {
  return {
      std::move(halfback::build_resnet(config, {halfback::num_blocks(config)}).front()), {}, {}};
}

void write_logits(const ResnetConfig& config, PlainRun& run, const std::string& path) {
  const MicroBatch batch = images_of(config, 99);
  const halfback::Tensors features = run.stage().infer(batch.inputs).activations;
  const auto& head = dynamic_cast<const halfback::ClassifierHead&>(*run.stage().layers().loss);
  halfback::save_safetensors(
      path, {{"images", batch.inputs[0]}, {"logits", head.logits(features.front())}});
}

void train(const ResnetConfig& config, PlainRun& run, const std::string& state) {
  run.initialize(5);
  for (int step = 1; step <= 3; ++step) {
    const auto key = static_cast<std::uint64_t>(2 * step);
    run.train_step(std::vector{images_of(config, key), images_of(config, key + 1)}, step, 1e-3);
  }
  std::vector<NamedTensor> tensors;
  for (const Parameter* parameter : run.stage().store().parameters()) {
    tensors.push_back({parameter->name, parameter->value});
  }
  halfback::save_safetensors(state, tensors);
}

// torch counts batches in int64; ours are numbers like all others.
void load(PlainRun& run, const std::string& state) {
  const halfback::SafetensorsFile file(state);
  HALFBACK_CHECK(file.names().size() == run.stage().store().parameters().size(), state);
  for (Parameter* parameter : run.stage().store().parameters()) {
    parameter->value.copy_(file.get(parameter->name));
  }
}

}  // namespace

int main(int argc, char** argv) try {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() != 4 || (arguments[0] != "train" && arguments[0] != "load")) {
    std::cerr << "usage: exchange_resnet train|load CONFIG STATE LOGITS\n";
    return 2;
  }
  const ResnetConfig config = halfback::resnet_from_json(
      halfback::parse_json(halfback::read_file(arguments[1]), arguments[1]), arguments[1]);
  PlainRun run = make_run(config);
  if (arguments[0] == "train") {
    train(config, run, arguments[2]);
  } else {
    load(run, arguments[2]);
  }
  write_logits(config, run, arguments[3]);
  return 0;
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
