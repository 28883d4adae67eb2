// A LLaMA that reads tokens one after the other and keeps keys and values of those it has seen, so
// that a further token costs one row instead of the whole text.
#pragma once

#include "halfback/layers/call.h"
#include "halfback/layers/stage_layers.h"

#include <vector>

namespace halfback {

class LlamaDecoder {
 public:
  // `whole` is a model of build_llama on one stage, with its values in place; it must outlive this.
  explicit LlamaDecoder(const StageLayers& whole);

  // Takes further tokens [N, T], returns the logits [N, V] after the last one. T is 1 after the
  // first call. The text may be as long as the model's rotary angles.
  at::Tensor extend(const at::Tensor& tokens);

 private:
  const StageLayers& whole_;
  std::vector<Carry> carries_;  // by layer: keys and values, where it is attention
};

}  // namespace halfback
