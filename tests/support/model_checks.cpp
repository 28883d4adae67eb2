#include "tests/support/model_checks.h"

#include "halfback/base/keyed_random.h"

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <utility>

namespace halfback {

std::vector<Parameter*> all_parameters(const std::vector<StageLayers>& stages) {
  std::vector<Parameter*> all;
  for (const StageLayers& stage : stages) {
    const std::vector<Parameter*> more = stage.parameters();
    all.insert(all.end(), more.begin(), more.end());
  }
  return all;
}

std::map<std::string, std::vector<std::int64_t>> checkpoint_shapes(
    const std::vector<StageLayers>& stages) {
  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (const Parameter* parameter : all_parameters(stages)) {
    if (parameter->checkpoint_rows.empty()) {
      shapes[parameter->name] = parameter->shape;
    }
    for (const NamedRows& rows : parameter->checkpoint_rows) {
      std::vector<std::int64_t> shape = parameter->shape;
      shape.front() = rows.end - rows.begin;
      shapes[rows.name] = shape;
    }
  }
  return shapes;
}

MicroBatch token_batch(std::int64_t sequence, std::int64_t vocabulary, std::uint64_t key) {
  MicroBatch batch{{at::empty({2, sequence}, at::kLong)}, at::empty({2, sequence}, at::kLong)};
  std::uint64_t count = 0;
  for (at::Tensor* tensor : {&batch.inputs[0], &batch.targets}) {
    for (std::int64_t i = 0; i < tensor->numel(); ++i) {
      tensor->mutable_data_ptr<std::int64_t>()[i] = static_cast<std::int64_t>(
          mixed_bits({key, count++}) % static_cast<std::uint64_t>(vocabulary));
    }
  }
  return batch;
}

PlainRun plain_run_of(std::vector<StageLayers> whole) {
  Stage::Options options;
  options.dtype = at::kDouble;
  return {std::move(whole.front()), options, {}};
}

void expect_finite_differences(PlainRun run, const std::vector<MicroBatch>& batches) {
  constexpr double kStep = 1e-5;
  run.initialize(7);
  run.accumulate_gradients(batches);
  const std::vector<Parameter*> parameters = run.stage().store().parameters();
  std::vector<at::Tensor> gradients;
  for (const Parameter* parameter : parameters) {
    gradients.push_back(parameter->gradient.clone());
  }
  for (std::size_t p = 0; p < parameters.size(); ++p) {
    // A parameter and its copies change together.
    const auto set = [&](std::int64_t index, double value) {
      for (Parameter* const other : parameters) {
        if (other->name == parameters[p]->name) {
          other->value.mutable_data_ptr<double>()[index] = value;
        }
      }
    };
    const auto* values = parameters[p]->value.const_data_ptr<double>();
    const auto* gradient = gradients[p].const_data_ptr<double>();
    for (std::int64_t i = 0; i < parameters[p]->numel(); i += 1 + parameters[p]->numel() / 9) {
      const double value = values[i];
      set(i, value + kStep);
      const double above = run.accumulate_gradients(batches).loss;
      set(i, value - kStep);
      const double below = run.accumulate_gradients(batches).loss;
      set(i, value);
      EXPECT_NEAR(gradient[i], (above - below) / (2.0 * kStep), 1e-7)
          << parameters[p]->name << " " << i;
    }
  }
}

}  // namespace halfback
