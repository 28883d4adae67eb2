#include "halfback/measure/synthetic.h"

#include "halfback/base/keyed_random.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>

namespace halfback {

namespace {

at::Tensor random_integers(const std::vector<std::int64_t>& shape,
                           std::int64_t end,
                           std::uint64_t key) {
  at::Tensor tensor = at::empty(shape, at::kLong);
  auto* values = tensor.mutable_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    const std::uint64_t hash =
        keyed_hash(Purpose::SyntheticNumber, {key, static_cast<std::uint64_t>(i)});
    values[i] = static_cast<std::int64_t>(hash % static_cast<std::uint64_t>(end));
  }
  return tensor;
}

}  // namespace

MicroBatch synthetic_batch(const ModelConfig& config, std::int64_t num_samples, std::uint64_t key) {
  const std::vector<std::int64_t> shape = input_shape(config, num_samples);
  const std::int64_t outcomes = num_outcomes(config);
  const std::uint64_t inputs_key = keyed_hash(Purpose::SyntheticInputs, {key});
  const std::uint64_t targets_key = keyed_hash(Purpose::SyntheticTargets, {key});
  if (task_of(config) == Task::Classes) {
    auto generator = at::make_generator<at::CPUGeneratorImpl>(inputs_key);
    return {.inputs = {at::randn(shape, generator, at::kFloat)},
            .targets = random_integers({num_samples}, outcomes, targets_key)};
  }
  MicroBatch batch{.inputs = {random_integers(shape, outcomes, inputs_key)},
                   .targets = random_integers(shape, outcomes, targets_key)};
  if (const auto* const bert = std::get_if<BertConfig>(&config)) {
    const std::int64_t num_masked = bert->num_masked(bert->sequence);
    batch.targets.narrow(1, num_masked, bert->sequence - num_masked).fill_(-1);
  }
  return batch;
}

std::vector<MicroBatch> synthetic_micro_batches(const ModelConfig& config,
                                                const MicroBatchSizes& sizes,
                                                std::uint64_t seed) {
  std::vector<MicroBatch> all;
  for (int i = 0; i < sizes.count; ++i) {
    const std::uint64_t key =
        keyed_hash(Purpose::SyntheticBatch, {seed, static_cast<std::uint64_t>(i)});
    all.push_back(synthetic_batch(config, sizes.num_samples, key));
  }
  return all;
}

}  // namespace halfback
