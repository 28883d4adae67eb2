#include "halfback/layers/rotary.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace halfback {

namespace {

// Stretches long waves by the factor, keeps short ones, and blends those in between.
double llama3_frequency(double plain, const RotaryScaling& scaling) {
  const double turns =
      static_cast<double>(scaling.original_positions) * plain / (2.0 * std::numbers::pi);
  const double kept = std::clamp((turns - scaling.low) / (scaling.high - scaling.low), 0.0, 1.0);
  return (1.0 - kept) * plain / scaling.factor + kept * plain;
}

// Returns the pair, as a real number, that makes `turns` turns over the original positions.
double pair_of_turns(double turns, const RotaryOptions& options) {
  const auto positions = static_cast<double>(options.scaling.original_positions);
  return static_cast<double>(options.head_size) *
         std::log(positions / (turns * 2.0 * std::numbers::pi)) / (2.0 * std::log(options.theta));
}

struct Ramp {
  double begin = 0.0;
  double end = 0.0;
};

Ramp yarn_ramp(const RotaryOptions& options) {
  const RotaryScaling& scaling = options.scaling;
  double begin = pair_of_turns(scaling.high, options);
  double end = pair_of_turns(scaling.low, options);
  if (scaling.truncates) {
    begin = std::floor(begin);
    end = std::ceil(end);
  }
  begin = std::max(begin, 0.0);
  end = std::min(end, static_cast<double>(options.head_size - 1));
  // Not empty, as in Hugging Face: the ramp divides by its length.
  return {.begin = begin, .end = begin == end ? end + 0.001 : end};
}

}  // namespace

std::vector<double> rotary_frequencies(const RotaryOptions& options) {
  const RotaryScaling& scaling = options.scaling;
  std::vector<double> all;
  for (std::int64_t i = 0; i < options.head_size / 2; ++i) {
    all.push_back(std::pow(options.theta,
                           -2.0 * static_cast<double>(i) / static_cast<double>(options.head_size)));
  }
  switch (scaling.kind) {
    case RotaryScaling::Kind::None:
      break;
    case RotaryScaling::Kind::Linear:
      for (double& one : all) {
        one /= scaling.factor;
      }
      break;
    case RotaryScaling::Kind::Llama3:
      for (double& one : all) {
        one = llama3_frequency(one, scaling);
      }
      break;
    case RotaryScaling::Kind::Yarn: {
      const Ramp ramp = yarn_ramp(options);
      for (std::size_t i = 0; i < all.size(); ++i) {
        const double stretched =
            std::clamp((static_cast<double>(i) - ramp.begin) / (ramp.end - ramp.begin), 0.0, 1.0);
        all[i] = stretched * all[i] / scaling.factor + (1.0 - stretched) * all[i];
      }
      break;
    }
  }
  return all;
}

RotaryAngles rotary_angles(const RotaryOptions& options, at::ScalarType dtype) {
  const at::TensorOptions exact(at::kDouble);
  const at::Tensor angles =
      at::outer(at::arange(options.length, exact), at::tensor(rotary_frequencies(options), exact));
  const double scale = options.scaling.attention_factor;
  return {.cosine = angles.cos().mul_(scale).to(dtype), .sine = angles.sin().mul_(scale).to(dtype)};
}

}  // namespace halfback
