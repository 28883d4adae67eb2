// The layers under test in several shapes, each with the same mathematics written plainly with
// ATen operators.
#pragma once

#include "tests/support/layer_checks.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

namespace halfback {

struct LayerCase {
  std::string name;
  std::vector<std::int64_t> input_shape;
  std::int64_t vocabulary = 0;  // of the token ids; 0 when the input is activations
  std::function<std::unique_ptr<Layer>(at::ScalarType)> make = {};
  Reference reference = {};
  bool reads_data = false;  // activations of the mini-batch, which have no gradient
  // Dimensions that all micro-batches share; the channels, the last of activations, if none.
  std::vector<std::size_t> fixed = {};

  bool has_ids() const { return vocabulary > 0; }
  bool has_input_gradient() const { return !has_ids() && !reads_data; }
  // The shape of a micro-batch in which every size but the fixed ones is larger by so much.
  std::vector<std::int64_t> grown_shape(std::int64_t growth) const;
  at::Tensor input(at::ScalarType dtype, Random& random, std::int64_t growth = 0) const;
  // Some gradient of the output for this layer.
  at::Tensor grad_output(const Layer& layer,
                         at::ScalarType dtype,
                         Random& random,
                         std::int64_t growth = 0) const;
};
std::ostream& operator<<(std::ostream& out, const LayerCase& layer_case);

// Sizes are small enough for a numeric gradient of every element.
std::vector<LayerCase> linear_cases();
std::vector<LayerCase> activation_cases();
std::vector<LayerCase> norm_cases();
std::vector<LayerCase> embedding_cases();
std::vector<LayerCase> attention_cases();
std::vector<LayerCase> feed_forward_cases();
std::vector<LayerCase> head_cases();
std::vector<LayerCase> bert_cases();
std::vector<LayerCase> mamba_cases();
std::vector<LayerCase> convolution_cases();
std::vector<LayerCase> batch_norm_cases();
std::vector<LayerCase> image_cases();    // convolutions, norms and what comes with them
std::vector<LayerCase> native_cases();   // all of the above
std::vector<LayerCase> foreign_cases();  // modules of libtorch
std::vector<LayerCase> all_cases();

struct AttentionShape {
  std::int64_t num_samples = 1;
  std::int64_t length = 1;
  std::int64_t num_channels = 2;
  std::int64_t num_heads = 1;
  std::int64_t num_key_value_heads = 1;
  std::int64_t head_size = 0;  // 0: channels / heads
  bool has_input_bias = false;
  bool has_output_bias = false;
};
LayerCase attention_case(const AttentionShape& shape);

struct MambaShape {
  std::int64_t num_samples = 1;
  std::int64_t length = 1;
  std::int64_t num_channels = 1;
  std::int64_t inner_channels = 1;
  std::int64_t state_size = 1;
  std::int64_t num_taps = 1;
  std::int64_t step_rank = 1;
};
LayerCase mamba_case(const MambaShape& shape);

// Targets of a head for an input with this many rows.
at::Tensor some_targets(std::int64_t rows, std::int64_t vocabulary);
LossAsLayer::Targets some_targets_of_rows(std::int64_t vocabulary);

}  // namespace halfback
