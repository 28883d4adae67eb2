// The smoothness along an update, against its definition at values set by hand.
#include "halfback/measure/smoothness_probe.h"

#include "halfback/engine/plain_run.h"
#include "halfback/schedule/families.h"
#include "tests/support/local_runs.h"

#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <cmath>

namespace halfback::testing {
namespace {

class SmoothnessProbeTest : public OneThreadTest {
 protected:
  static std::unique_ptr<Pipeline> pipeline_of(const NamedModel& model, int num_ranks) {
    const Schedule schedule = family("1f1b", num_ranks);
    auto made = std::make_unique<Pipeline>(build(model, schedule, {}), make_runnable(schedule),
                                           parity_options());
    made->initialize(kSeed);
    return made;
  }

  static std::vector<std::vector<MicroBatch>> data(const NamedModel& model) {
    return {batches(model, 4, 11), batches(model, 4, 12)};
  }
};

// The definition, over the plain run.
double lipschitz_of(const NamedModel& model,
                    const std::vector<double>& before,
                    const std::vector<double>& after,
                    const std::vector<std::vector<MicroBatch>>& batches) {
  const c10::InferenceMode no_graph;
  PlainRun plain(std::move(build(model, family("gpipe", 1), {}).front()), parity_options().stage,
                 {});
  plain.initialize(kSeed);
  const auto gradient_at = [&](double t) {
    std::size_t next = 0;
    for (Parameter* const parameter : plain.stage().store().parameters()) {
      auto* const values = parameter->value.mutable_data_ptr<float>();
      for (std::int64_t i = 0; i < parameter->numel(); ++i, ++next) {
        values[i] = static_cast<float>(before[next] + t * (after[next] - before[next]));
      }
    }
    std::vector<double> mean(before.size(), 0.0);
    for (const auto& batch : batches) {
      plain.accumulate_gradients(batch);
      const std::vector<double> one = numbers_of(plain.stage(), Buffer::Gradients);
      for (std::size_t i = 0; i < mean.size(); ++i) {
        mean[i] += one[i] / static_cast<double>(batches.size());
      }
    }
    return mean;
  };
  const auto norm_of_difference = [](const std::vector<double>& one,
                                     const std::vector<double>& other) {
    double squares = 0.0;
    for (std::size_t i = 0; i < one.size(); ++i) {
      squares += (one[i] - other[i]) * (one[i] - other[i]);
    }
    return std::sqrt(squares);
  };
  const std::vector<double> first = gradient_at(0.0);
  double largest = 0.0;
  for (const double t : {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9}) {
    largest = std::max(largest, norm_of_difference(gradient_at(t), first) /
                                    (t * norm_of_difference(before, after)));
  }
  return largest;
}

TEST_F(SmoothnessProbeTest, IsItsDefinitionOnAnyNumberOfStages) {
  for (const char* name : {"Mlp", "Llama"}) {
    const NamedModel small = model(name);
    for (const int num_ranks : {1, 2, 4}) {
      SCOPED_TRACE(fmt::format("{} {}", name, num_ranks));
      const auto pipeline = pipeline_of(small, num_ranks);
      SmoothnessProbe probe(*pipeline, data(small));
      const std::vector<double> before = numbers_of(*pipeline, Buffer::Values);
      probe.note_values();
      pipeline->train_step(batches(small, 4, 1), {.number = 1, .learning_rate = kLearningRate});
      const std::vector<double> after = numbers_of(*pipeline, Buffer::Values);
      const double expected = lipschitz_of(small, before, after, data(small));
      EXPECT_GT(expected, 0.0);
      EXPECT_NEAR(probe.lipschitz(), expected, 1e-3 * expected);
      EXPECT_EQ(numbers_of(*pipeline, Buffer::Values), after);
    }
  }
}

TEST_F(SmoothnessProbeTest, LeavesRunningStatistics) {
  const NamedModel small = model("Resnet");
  const auto pipeline = pipeline_of(small, 2);
  SmoothnessProbe probe(*pipeline, data(small));
  probe.note_values();
  pipeline->train_step(batches(small, 4, 1), {.number = 1, .learning_rate = kLearningRate});
  const std::string before = bytes_of(*pipeline, Buffer::Values);
  EXPECT_GT(probe.lipschitz(), 0.0);
  EXPECT_TRUE(bytes_of(*pipeline, Buffer::Values) == before);
}

TEST_F(SmoothnessProbeTest, NothingMovedIsSmooth) {
  const NamedModel small = model("Mlp");
  const auto pipeline = pipeline_of(small, 2);
  SmoothnessProbe probe(*pipeline, data(small));
  probe.note_values();
  EXPECT_EQ(probe.lipschitz(), 0.0);
}

}  // namespace
}  // namespace halfback::testing
