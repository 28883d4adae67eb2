// The verifier and the executor never disagree: what the one lets pass, the other runs to its end;
// what the one refuses, the other stops at. Layers that compute nothing stand in for a model.
#include "halfback/base/error.h"
#include "halfback/engine/pipeline.h"
#include "halfback/schedule/families.h"
#include "halfback/schedule/passes.h"
#include "halfback/schedule/validate.h"
#include "tests/support/mutation.h"
#include "tests/support/schedules.h"

#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

namespace halfback::testing {
namespace {

class NullLayer : public Layer {
 public:
  at::Tensor forward(const at::Tensor& input, Saved& saved) override {
    saved.until_input = {input};
    saved.until_weight = {input};
    return at::zeros({1});
  }
  at::Tensor backward_input(const at::Tensor&, Saved& saved) override {
    saved.until_input.clear();
    return at::zeros({1});
  }
  void backward_weight(Saved& saved) override { saved.until_weight.clear(); }
  SavedBytes saved_bytes(std::span<const std::int64_t>, std::int64_t) const override { return {}; }
  std::vector<std::int64_t> output_shape(std::span<const std::int64_t>) const override {
    return {1};
  }
};

class NullLoss : public LossLayer {
 public:
  double forward(const at::Tensor& input, const at::Tensor&, Saved& saved) override {
    saved.until_input = {input};
    saved.until_weight = {input};
    return 1.0;
  }
  at::Tensor backward_input(double, Saved& saved) override {
    saved.until_input.clear();
    return at::zeros({1});
  }
  void backward_weight(Saved& saved) override { saved.until_weight.clear(); }
  SavedBytes saved_bytes(std::span<const std::int64_t>, std::int64_t) const override { return {}; }
};

std::vector<StageLayers> null_stages(int count) {
  std::vector<StageLayers> stages(static_cast<std::size_t>(count));
  for (StageLayers& stage : stages) {
    stage.layers.push_back(std::make_unique<NullLayer>());
  }
  stages.back().loss = std::make_unique<NullLoss>();
  return stages;
}

// Returns what the verifier says, or "no error".
std::string verdict(const Schedule& schedule, int capacity) {
  return testing::error_of([&] { validate(schedule, {.channel = {capacity}}); });
}

// Returns what the executor says, or "no error".
std::string outcome(const Schedule& schedule, int capacity) {
  return testing::error_of([&] {
    PipelineOptions options;
    options.channel_capacity = capacity;
    options.timeout_seconds = 0.15;
    Pipeline pipeline(null_stages(schedule.num_stages()), schedule, options);
    pipeline.initialize(1);
    std::vector<MicroBatch> batches(static_cast<std::size_t>(schedule.num_micro_batches),
                                    {at::zeros({1}), at::zeros({1})});
    pipeline.accumulate_gradients(batches);
  });
}

Schedule any_runnable_schedule() {
  std::vector<std::string> names;
  for (const Family& family : families()) {
    if (family.replicas == 1) {
      names.push_back(family.name);
    }
  }
  return add_communication(family_or_on_four(*rc::gen::elementOf(names), *rc::gen::inRange(1, 4)));
}

TEST(AgreementTest, MutatedSchedulesRunOrFailAsTheVerifierSays) {
  int num_valid = 0;
  int num_refused = 0;
  EXPECT_TRUE(rc::check([&] {
    Schedule schedule = any_runnable_schedule();
    const int num_mutations = *rc::gen::inRange(0, 3);
    for (int i = 0; i < num_mutations; ++i) {
      mutate(schedule);
    }
    RC_PRE(has_messages(schedule) || schedule.num_ranks() == 1);
    const int capacity = *rc::gen::elementOf(std::vector<int>{1, 2, 16});
    const std::string said = verdict(schedule, capacity);
    const std::string found = outcome(schedule, capacity);
    const bool valid = said == "no error";
    (valid ? num_valid : num_refused) += 1;
    if ((found == "no error") != valid) {
      RC_FAIL("verifier: " + said + "\nexecutor: " + found + "\n");
    }
  }));
  EXPECT_GT(num_valid, 10);
  EXPECT_GT(num_refused, 10);
}

}  // namespace
}  // namespace halfback::testing
