#include "halfback/models/llama_decoder.h"

#include "halfback/base/error.h"
#include "halfback/layers/language_model_head.h"

namespace halfback {

LlamaDecoder::LlamaDecoder(const StageLayers& whole)
    : whole_(whole), caches_(whole.layers.size()) {}

at::Tensor LlamaDecoder::extend(const at::Tensor& tokens) {
  at::Tensor activation = tokens;
  for (std::size_t i = 0; i < whole_.layers.size(); ++i) {
    if (auto* const attention = dynamic_cast<Attention*>(whole_.layers[i].get())) {
      activation = attention->extend(activation, caches_[i]);
    } else {
      Saved dropped;
      activation = whole_.layers[i]->forward(activation, dropped);
    }
  }
  const auto* const head = dynamic_cast<const LanguageModelHead*>(whole_.loss.get());
  HALFBACK_CHECK(head != nullptr, "the model has no language model head");
  return head->logits(activation.narrow(1, activation.size(1) - 1, 1).contiguous()).squeeze(1);
}

}  // namespace halfback
