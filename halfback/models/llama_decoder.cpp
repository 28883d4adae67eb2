#include "halfback/models/llama_decoder.h"

#include "halfback/base/error.h"
#include "halfback/layers/language_model_head.h"

#include <utility>

namespace halfback {

LlamaDecoder::LlamaDecoder(const StageLayers& whole)
    : whole_(whole), carries_(whole.layers.size()) {}

at::Tensor LlamaDecoder::extend(const at::Tensor& tokens) {
  Tensors activations = {tokens};
  for (std::size_t i = 0; i < whole_.layers.size(); ++i) {
    Saved dropped;
    activations = whole_.layers[i]->forward(std::move(activations), dropped,
                                            {.is_training = false, .carry = &carries_[i]});
  }
  const auto* const head = dynamic_cast<const LanguageModelHead*>(whole_.loss.get());
  HALFBACK_CHECK(head != nullptr, "the model has no language model head");
  const at::Tensor& all = activations.front();
  return head->logits(all.narrow(1, all.size(1) - 1, 1).contiguous()).squeeze(1);
}

}  // namespace halfback
