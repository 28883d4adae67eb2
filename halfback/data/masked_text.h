// Masked text as for BERT: the model predicts some tokens of each sequence. 80 % of these are
// replaced by MASK and 10 % by another token; 10 % do not change. Each epoch masks different
// tokens. Sources: Devlin et al., "BERT", arXiv:1810.04805, 3.1 and A.1; new masks in each epoch:
// Liu et al., "RoBERTa", arXiv:1907.11692, 4.1.
#pragma once

#include "halfback/data/dataset.h"

#include <memory>

namespace halfback {

struct MaskedTextOptions {
  std::int64_t num_masked = 0;  // of each sequence
  std::int64_t mask_token = 0;
  std::int64_t num_tokens = 0;  // other tokens are drawn from 0 ... num_tokens - 1
  std::uint64_t seed = 0;
};

class MaskedText final : public Dataset {
 public:
  // Masks the inputs of `text`, whose batches are token ids [N, T].
  MaskedText(std::unique_ptr<Dataset> text, const MaskedTextOptions& options);

  // Targets [N, T] are the tokens that were masked, -1 elsewhere.
  MicroBatch train_batch(std::int64_t position, std::int64_t num_samples) const override;
  MicroBatch validation_batch(std::int64_t index, std::int64_t num_samples) const override;
  std::int64_t num_train_samples() const override { return text_->num_train_samples(); }
  std::int64_t num_validation_samples() const override { return text_->num_validation_samples(); }
  DataIdentity identity() const override { return text_->identity(); }

 private:
  struct Keys {
    std::uint64_t part;  // of the data
    std::int64_t first;  // number of the first sample
  };
  MicroBatch mask(MicroBatch batch, const Keys& keys) const;

  std::unique_ptr<Dataset> text_;
  MaskedTextOptions options_;
};

}  // namespace halfback
