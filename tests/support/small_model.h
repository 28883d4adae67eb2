// Small LLaMA-like models and token batches for tests of the engine.
#pragma once

#include "halfback/engine/pipeline.h"
#include "halfback/models/llama.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace halfback::testing {

// 4 blocks, width 24, 4 heads that share 2 key/value heads; most sizes are no vector's multiple.
LlamaConfig small_llama(int num_layers = 4);

// Returns how many layers the small model has for so many stages: 4, 8 or 16.
int layers_for(int num_stages);

struct BatchShape {
  int num_micro_batches = 4;
  std::int64_t num_sequences = 2;
  std::int64_t sequence = 7;
};

// Token ids out of a counter: the same in every run. `step` gives other ones.
std::vector<MicroBatch> make_batches(const BatchShape& shape, std::int64_t step = 0);

// Settings of the parity tests: AdamW, clipping at a norm that some steps exceed, one thread.
PipelineOptions parity_options();

// Moves every parameter of one dimension away from its initial values: a norm whose scale is 1
// hides a backward that leaves the scale out.
void move_vectors(Stage& stage);

// A pipeline of the small model, initialized, for a schedule by name.
struct PipelineRequest {
  std::string schedule = "1f1b";
  int num_ranks = 2;
  int num_micro_batches = 4;
  bool two_stage = true;
};
std::unique_ptr<Pipeline> make_pipeline(const PipelineRequest& request,
                                        const PipelineOptions& options = parity_options());
std::unique_ptr<Pipeline> make_pipeline(const Schedule& schedule,
                                        const PipelineOptions& options = parity_options());

// All bytes of values or gradients, parameter after parameter in model order; what does not train
// has values only.
enum class Buffer { Values, Gradients };
std::string bytes_of(Pipeline& pipeline, Buffer buffer);
std::string bytes_of(Stage& stage, Buffer buffer);

// The same numbers as doubles, for comparisons within a tolerance.
std::vector<double> numbers_of(Pipeline& pipeline, Buffer buffer);
std::vector<double> numbers_of(Stage& stage, Buffer buffer);

// Largest difference over the largest number of `expected`.
double relative_difference(const std::vector<double>& found, const std::vector<double>& expected);

}  // namespace halfback::testing
