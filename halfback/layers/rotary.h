// Rotary positions: at position t, pair i of a head is rotated by t x frequency(i).
// Source: Su et al., "RoFormer", arXiv:2104.09864. Longer contexts scale the frequencies: linearly
// (Chen et al., arXiv:2306.15595), with YaRN (Peng et al., arXiv:2309.00071), or as in LLaMA 3.1.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace halfback {

// How frequencies differ from theta^(-2i/D); values as in Hugging Face's rope_parameters.
struct RotaryScaling {
  enum class Kind { None, Linear, Llama3, Yarn };
  Kind kind = Kind::None;
  double factor = 1.0;
  std::int64_t original_positions = 0;  // llama3, yarn: of the model before its extension
  double low = 1.0;                     // llama3: low_freq_factor; yarn: beta_slow
  double high = 4.0;                    // llama3: high_freq_factor; yarn: beta_fast
  double attention_factor = 1.0;        // yarn: factor of cosine and sine
  bool truncates = true;                // yarn: the ramp ends at whole pairs

  bool operator==(const RotaryScaling&) const = default;
};

struct RotaryOptions {
  std::int64_t length = 0;
  std::int64_t head_size = 0;
  double theta = 10000.0;
  RotaryScaling scaling = {};
};

// Returns the angle by which each of the D/2 pairs rotates from one position to the next.
std::vector<double> rotary_frequencies(const RotaryOptions& options);

// Cosine and sine of the angles, each [T, D/2].
struct RotaryAngles {
  at::Tensor cosine;
  at::Tensor sine;
};
RotaryAngles rotary_angles(const RotaryOptions& options, at::ScalarType dtype);

}  // namespace halfback
