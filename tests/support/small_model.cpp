#include "tests/support/small_model.h"

#include "halfback/base/keyed_random.h"
#include "halfback/models/cut.h"
#include "halfback/schedule/families.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>

namespace halfback::testing {

namespace {

constexpr std::uint64_t kSeed = 42;

at::Tensor make_tokens(const BatchShape& shape, std::uint64_t key) {
  at::Tensor tokens = at::empty({shape.num_sequences, shape.sequence}, at::kLong);
  auto* ids = tokens.mutable_data_ptr<std::int64_t>();
  const auto vocabulary = static_cast<std::uint64_t>(small_llama().vocabulary);
  for (std::int64_t i = 0; i < tokens.numel(); ++i) {
    ids[i] =
        static_cast<std::int64_t>(mixed_bits({key, static_cast<std::uint64_t>(i)}) % vocabulary);
  }
  return tokens;
}

template <typename Visit>
void visit_buffers(Stage& stage, Buffer buffer, Visit visit) {
  for (const Parameter* parameter : stage.store().parameters()) {
    if (buffer == Buffer::Values || parameter->trains) {
      visit(buffer == Buffer::Values ? parameter->value : parameter->gradient);
    }
  }
}

void append_bytes(Stage& stage, Buffer buffer, std::string& bytes) {
  visit_buffers(stage, buffer, [&](const at::Tensor& held) {
    const at::Tensor tensor = held.cpu();
    bytes.append(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
  });
}

void append_numbers(Stage& stage, Buffer buffer, std::vector<double>& numbers) {
  visit_buffers(stage, buffer, [&](const at::Tensor& held) {
    const at::Tensor tensor = held.cpu();
    const auto* values = tensor.const_data_ptr<float>();
    numbers.insert(numbers.end(), values, values + tensor.numel());
  });
}

}  // namespace

LlamaConfig small_llama(int num_layers) {
  return {.num_layers = num_layers,
          .width = 24,
          .num_heads = 4,
          .num_key_value_heads = 2,
          .hidden = 40,
          .sequence = 7,
          .vocabulary = 31};
}

int layers_for(int num_stages) { return num_stages <= 4 ? 4 : num_stages <= 8 ? 8 : 16; }

std::vector<MicroBatch> make_batches(const BatchShape& shape, std::int64_t step) {
  std::vector<MicroBatch> batches;
  for (int i = 0; i < shape.num_micro_batches; ++i) {
    const auto key = static_cast<std::uint64_t>(step * 1000 + 2 * i);
    batches.push_back({{make_tokens(shape, key)}, make_tokens(shape, key + 1)});
  }
  return batches;
}

PipelineOptions parity_options() {
  PipelineOptions options;
  options.update.clip_norm = 1.03;
  options.timeout_seconds = 30.0;
  return options;
}

void move_vectors(Stage& stage) {
  const c10::InferenceMode no_graph;
  for (Parameter* const parameter : stage.store().parameters()) {
    if (parameter->trains && parameter->shape.size() == 1) {
      parameter->value.add_(at::arange(1, parameter->numel() + 1, at::kDouble).sin_().mul_(0.5));
    }
  }
}

std::unique_ptr<Pipeline> make_pipeline(const PipelineRequest& request,
                                        const PipelineOptions& options) {
  return make_pipeline(
      build_schedule(request.schedule, {.num_ranks = request.num_ranks,
                                        .num_micro_batches = request.num_micro_batches,
                                        .two_stage = request.two_stage}),
      options);
}

std::unique_ptr<Pipeline> make_pipeline(const Schedule& schedule, const PipelineOptions& options) {
  const LlamaConfig config = small_llama(layers_for(schedule.num_stages()));
  auto pipeline = std::make_unique<Pipeline>(
      [&] {
        return build_llama(config,
                           equal_cut(static_cast<int>(config.num_layers), schedule.num_stages()));
      },
      make_runnable(schedule), options);
  pipeline->initialize(kSeed);
  return pipeline;
}

std::string bytes_of(Stage& stage, Buffer buffer) {
  std::string bytes;
  append_bytes(stage, buffer, bytes);
  return bytes;
}

std::string bytes_of(Pipeline& pipeline, Buffer buffer) {
  std::string bytes;
  for (int stage = 0; stage < pipeline.num_stages(); ++stage) {
    append_bytes(pipeline.stage(stage), buffer, bytes);
  }
  return bytes;
}

std::vector<double> numbers_of(Stage& stage, Buffer buffer) {
  std::vector<double> numbers;
  append_numbers(stage, buffer, numbers);
  return numbers;
}

std::vector<double> numbers_of(Pipeline& pipeline, Buffer buffer) {
  std::vector<double> numbers;
  for (int stage = 0; stage < pipeline.num_stages(); ++stage) {
    append_numbers(pipeline.stage(stage), buffer, numbers);
  }
  return numbers;
}

double relative_difference(const std::vector<double>& found, const std::vector<double>& expected) {
  if (found.size() != expected.size()) {
    return INFINITY;
  }
  double largest = 0.0;
  double difference = 0.0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    largest = std::max(largest, std::abs(expected[i]));
    difference = std::max(difference, std::abs(found[i] - expected[i]));
  }
  return difference / largest;
}

}  // namespace halfback::testing
