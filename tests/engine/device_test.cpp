// Training on every kind of device that there is: the CPU given as a device, two devices of the
// tests' own that are not the CPU, and what else torch finds here. On each the promise holds: the
// bits of the plain run there, whatever the schedule, and what the CPU gives to rounding.
#include "halfback/engine/device.h"

#include "halfback/base/error.h"
#include "halfback/engine/plain_run.h"
#include "halfback/layers/autograd_layer.h"
#include "halfback/measure/synthetic.h"
#include "halfback/models/cut.h"
#include "halfback/models/local_heads.h"
#include "halfback/transport/in_process.h"
#include "tests/support/errors.h"
#include "tests/support/models.h"
#include "tests/support/other_device.h"
#include "tests/support/threads.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <tuple>
#include <vector>

namespace halfback::testing {
namespace {

constexpr int kNumMicroBatches = 4;
constexpr std::int64_t kNumSamples = 3;

// Without numbers: ranks are dealt out over all.
std::vector<at::Device> devices() {
  install_other_devices();
  std::vector<at::Device> all = {at::kCPU, kOtherDevice, at::Device(kOtherDevice, 1)};
  if (c10::impl::hasDeviceGuardImpl(at::kCUDA) &&
      c10::impl::getDeviceGuardImpl(at::kCUDA)->deviceCount() > 0) {
    all.emplace_back(at::kCUDA);
  }
  return all;
}

class DeviceTest : public ::testing::TestWithParam<std::tuple<at::Device, NamedModel>> {
 protected:
  at::Device device() const { return std::get<0>(GetParam()); }
  const NamedModel& model() const { return std::get<1>(GetParam()); }

  PipelineOptions options(at::Device device) const {
    PipelineOptions options = parity_options();
    options.stage.device = device;
    options.stage.seed = 11;
    return options;
  }

  std::vector<MicroBatch> batches(std::int64_t step) const {
    std::vector<MicroBatch> all;
    for (int i = 0; i < kNumMicroBatches; ++i) {
      MicroBatch batch = synthetic_batch(model().config, kNumSamples,
                                         static_cast<std::uint64_t>(step * kNumMicroBatches + i));
      all.push_back(std::move(batch));
      for (const at::Tensor& side : model().side_inputs) {
        all.back().inputs.push_back(side);
      }
    }
    return all;
  }

  PlainRun plain(PipelineOptions options) const {
    options.stage.device = device_of_rank(options.stage.device, 0);
    PlainRun made(std::move(build_model(model().config, {num_blocks(model().config)}).front()),
                  options.stage, options.update);
    made.initialize(kSeed);
    return made;
  }

  std::unique_ptr<Pipeline> pipeline(const PipelineRequest& request,
                                     const PipelineOptions& options) const {
    const Schedule schedule = schedule_of(request);
    auto made = std::make_unique<Pipeline>(
        build_model(model().config, equal_cut(num_blocks(model().config), schedule.num_stages()),
                    {.recompute = model().recompute}),
        make_runnable(schedule), options);
    made->initialize(kSeed);
    return made;
  }

  void expect_bits(const PipelineRequest& request, const PipelineOptions& options) const {
    SCOPED_TRACE(request.schedule + " on " + std::to_string(request.num_ranks));
    PlainRun expected = plain(options);
    const auto found = pipeline(request, options);
    for (std::int64_t step = 1; step <= 2; ++step) {
      const auto plain_step = expected.train_step(batches(step), step, 3e-3);
      const StepResult step_found =
          found->train_step(batches(step), {.number = step, .learning_rate = 3e-3});
      ASSERT_EQ(step_found.loss, plain_step.loss) << "step " << step;
      if (!step_found.was_skipped) {
        ASSERT_EQ(step_found.gradient_norm, plain_step.gradient_norm) << "step " << step;
      }
      ASSERT_TRUE(bytes_of(*found, Buffer::Gradients) ==
                  bytes_of(expected.stage(), Buffer::Gradients))
          << "step " << step;
      ASSERT_TRUE(bytes_of(*found, Buffer::Values) == bytes_of(expected.stage(), Buffer::Values))
          << "step " << step;
      for (int stage = 0; stage < found->num_stages(); ++stage) {
        EXPECT_TRUE(found->stage(stage).is_idle());
      }
    }
  }

 private:
  const Threads one_{1};
};

TEST_P(DeviceTest, HasTheBitsOfThePlainRun) {
  expect_bits({"1f1b-2", 2, kNumMicroBatches, true}, options(device()));
  expect_bits({"zb-v", 2, kNumMicroBatches, true}, options(device()));
}

// The first scale overflows in some models.
TEST_P(DeviceTest, HasTheBitsOfThePlainRunInFloat16) {
  PipelineOptions float16 = options(device());
  float16.stage.product_dtype = at::kHalf;
  float16.update.loss_scale = {.initial = 0x1p20, .is_dynamic = true};
  expect_bits({"1f1b-2", 2, kNumMicroBatches, true}, float16);
}

TEST_P(DeviceTest, HasWhatTheCpuHasToRounding) {
  PlainRun expected = plain(options(at::kCPU));
  const auto found = pipeline({"1f1b", 2, kNumMicroBatches, true}, options(device()));
  const auto all = batches(1);
  const Evaluation evaluation = found->evaluate(all);
  const Evaluation on_cpu =
      pipeline({"gpipe", 1, kNumMicroBatches, true}, options(at::kCPU))->evaluate(all);
  EXPECT_NEAR(evaluation.loss, on_cpu.loss, 1e-5 * on_cpu.loss);
  EXPECT_EQ(evaluation.accuracy, on_cpu.accuracy);
  const auto plain_result = expected.accumulate_gradients(all);
  const StepResult result = found->accumulate_gradients(all);
  EXPECT_NEAR(result.loss, plain_result.loss, 1e-5 * plain_result.loss);
  EXPECT_NEAR(result.gradient_norm, plain_result.gradient_norm, 1e-3 * plain_result.gradient_norm);
  EXPECT_LT(relative_difference(numbers_of(*found, Buffer::Gradients),
                                numbers_of(expected.stage(), Buffer::Gradients)),
            1e-3);
}

// The data too lies there, and messages on their way, which are counted to nobody on the CPU.
TEST_P(DeviceTest, KeepsTheBytesThatTheCpuKeepsAndTheData) {
  if (device().has_index() || device().is_cuda()) {
    return;  // both ranks on one device, or an allocator that rounds
  }
  const auto all = batches(1);
  std::int64_t others = 0;
  for (const MicroBatch& one : all) {
    others += static_cast<std::int64_t>(one.targets.nbytes());
    for (const at::Tensor& input : one.inputs) {
      others += static_cast<std::int64_t>(input.nbytes());
    }
  }
  const auto stages =
      build_model(model().config, equal_cut(num_blocks(model().config), 2), {.recompute = {}});
  for (const StageBytes& bytes :
       stage_bytes(stages, {.input_shape = input_shape(model().config, kNumSamples)})) {
    others += kNumMicroBatches * (bytes.activation_message + bytes.gradient_message);
  }
  const auto memory_on = [&](at::Device device) {
    return pipeline({"1f1b", 2, kNumMicroBatches, true}, options(device))
        ->train_step(all, {.number = 1, .learning_rate = 1e-3})
        .memory;
  };
  const std::vector<RankMemory> expected = memory_on(at::kCPU);
  const std::vector<RankMemory> found = memory_on(device());
  for (std::size_t rank = 0; rank < expected.size(); ++rank) {
    EXPECT_EQ(found[rank].parameters, expected[rank].parameters) << rank;
    EXPECT_EQ(found[rank].optimizer_state, expected[rank].optimizer_state) << rank;
    EXPECT_GE(found[rank].activations, expected[rank].activations) << rank;
    EXPECT_LE(found[rank].activations, expected[rank].activations + others) << rank;
    EXPECT_GT(found[rank].peak, found[rank].activations) << rank;
  }
}

std::string name_of(const ::testing::TestParamInfo<DeviceTest::ParamType>& info) {
  std::string device = std::get<0>(info.param).str();
  std::replace(device.begin(), device.end(), ':', '_');
  return std::get<1>(info.param).name + "_on_" + device;
}

INSTANTIATE_TEST_SUITE_P(All,
                         DeviceTest,
                         ::testing::Combine(::testing::ValuesIn(devices()),
                                            ::testing::ValuesIn(small_models())),
                         name_of);

TEST(DeviceOfRankTest, DealsRanksOutOverAllThatHaveNoNumber) {
  install_other_devices();
  EXPECT_EQ(device_of_rank(at::kCPU, 3), at::Device(at::kCPU));
  EXPECT_EQ(device_of_rank(kOtherDevice, 0), at::Device(kOtherDevice, 0));
  EXPECT_EQ(device_of_rank(kOtherDevice, 1), at::Device(kOtherDevice, 1));
  EXPECT_EQ(device_of_rank(kOtherDevice, 2), at::Device(kOtherDevice, 0));
  EXPECT_EQ(device_of_rank(at::Device(kOtherDevice, 1), 0), at::Device(kOtherDevice, 1));
  EXPECT_TRUE(
      contains(text_of_thrown<ConfigError>([] { device_of_rank(at::Device(kOtherDevice, 2), 0); }),
               "device privateuseone:2: there are 2 of them, counted from 0"));
}

TEST(ForeignModuleTest, StaysOnItsDevice) {
  install_other_devices();
  const at::Tensor weight = at::ones({3}).set_requires_grad(true);
  StageLayers layers;
  layers.add(std::make_unique<AutogradLayer>(
      ForeignModule{.name = "scale",
                    .forward = [weight](const Tensors& inputs,
                                        const Call&) { return Tensors{inputs[0].mul(weight)}; },
                    .parameters = {{"weight", weight}}}));
  Stage stage(std::move(layers), {.device = at::Device(kOtherDevice, 0)});
  EXPECT_TRUE(contains(text_of_thrown<ConfigError>([&] {
                         stage.forward(0, {at::ones({2, 3})});
                       }),
                       "module scale: the stage is on device privateuseone:0 and scale.weight was "
                       "made on cpu; modules do not move; use --device cpu"));
}

TEST(ParseDeviceTest, KnowsTheCpuAndRefusesWhatIsNotThere) {
  EXPECT_EQ(parse_device("cpu"), at::Device(at::kCPU));
  for (const char* text : {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda 0", "cuda:1x", "cpu:0"}) {
    EXPECT_TRUE(contains(text_of_thrown<ConfigError>([&] { parse_device(text); }),
                         "expected cpu, cuda or cuda:K"))
        << text;
  }
  const std::string text = text_of_thrown<ConfigError>([] { parse_device("cuda:99"); });
  EXPECT_EQ(text.find("device cuda:99: "), 0U) << text;
  EXPECT_TRUE(contains(text, "none is visible to this process") ||
              contains(text, "the torch that this program runs with has no support for it") ||
              contains(text, "counted from 0; use --device CUDA"))
      << text;
}

// Either end may copy for both, and the other one reads on another stream.
TEST(DeviceExchangeTest, EndsWhenWhatItCopiesIsThere) {
  install_other_devices();
  const auto network =
      make_in_process_network({.num_ranks = 2, .timeout = std::chrono::duration<double>(30.0)});
  const auto on_device = at::TensorOptions(at::kFloat).device(kOtherDevice, 0);
  const at::Tensor given = at::ones({3}, on_device);
  const at::Tensor got = at::zeros({3}, on_device);
  const int before = num_stream_waits();
  const auto there = network->begin_exchange(0, {}, {{.peer = 1, .gives = given, .gets = {}}});
  const auto back = network->begin_exchange(1, {}, {{.peer = 0, .gives = {}, .gets = got}});
  there->wait();
  EXPECT_GT(num_stream_waits(), before);
  back->wait();
  EXPECT_TRUE(got.cpu().equal(given.cpu()));
}

TEST(DeviceExchangeTest, RefreshesSharedHeadsOnEveryKindOfDevice) {
  const auto all = small_models();
  const NamedModel& llama = *std::ranges::find(all, "Llama", &NamedModel::name);
  const Schedule schedule =
      build_schedule("local-greedy", {.num_ranks = 2, .num_micro_batches = 2});
  for (const at::Device device : devices()) {
    SCOPED_TRACE(device.str());
    PipelineOptions options = parity_options();
    options.stage.device = device;
    options.update.clip_norm = 0.0;
    options.head_refresh = 2;
    Pipeline pipeline(build_model(llama.config, equal_cut(num_blocks(llama.config), 2),
                                  {.local_head = LocalHead::Shared, .stages_with_loss = {0, 1}}),
                      make_runnable(schedule), options);
    pipeline.initialize(kSeed);
    const auto matrix = [&](int stage) {
      return pipeline.stage(stage).layers().loss->output_matrix()->value.cpu();
    };
    for (int step = 1; step <= 5; ++step) {
      const at::Tensor before = matrix(1).clone();
      std::vector<MicroBatch> batches;
      for (int i = 0; i < 2; ++i) {
        batches.push_back(
            synthetic_batch(llama.config, kNumSamples, static_cast<std::uint64_t>(2 * step + i)));
      }
      pipeline.train_step(batches, {.number = step, .learning_rate = 1e-2});
      EXPECT_EQ(matrix(0).equal(before), step % 2 == 1) << step;
    }
  }
}

}  // namespace
}  // namespace halfback::testing
