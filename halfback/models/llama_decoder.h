// A LLaMA that reads tokens one after the other and caches their keys and values, so that another
// token costs one row instead of the whole text.
#pragma once

#include "halfback/layers/call.h"
#include "halfback/layers/stage_layers.h"

#include <vector>

namespace halfback {

class LlamaDecoder {
 public:
  // `whole` is a one-stage model of build_llama() with its values loaded; it must outlive this.
  explicit LlamaDecoder(const StageLayers& whole);

  // Takes more tokens [N, T] and returns the logits [N, V] after the last one. T is 1 after the
  // first call. The text may be as long as the model's rotary angles.
  at::Tensor extend(const at::Tensor& tokens);

 private:
  const StageLayers& whole_;
  std::vector<Carry> carries_;  // by layer: keys and values of attention layers
};

}  // namespace halfback
