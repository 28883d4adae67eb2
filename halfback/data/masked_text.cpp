#include "halfback/data/masked_text.h"

#include "halfback/base/error.h"
#include "halfback/base/keyed_random.h"

#include <ATen/ops/full_like.h>
#include <fmt/format.h>

#include <utility>

namespace halfback {

namespace {

// Parts of the data, as words of keys.
constexpr std::uint64_t kTraining = 1;
constexpr std::uint64_t kValidation = 2;

}  // namespace

MaskedText::MaskedText(std::unique_ptr<Dataset> text, const MaskedTextOptions& options)
    : text_(std::move(text)), options_(options) {
  HALFBACK_CHECK(options.num_masked >= 1 && options.num_tokens >= 1,
                 fmt::format("{} of {} tokens", options.num_masked, options.num_tokens));
}

MicroBatch MaskedText::train_batch(std::int64_t position, std::int64_t num_samples) const {
  return mask(text_->train_batch(position, num_samples), {kTraining, position});
}

MicroBatch MaskedText::validation_batch(std::int64_t index, std::int64_t num_samples) const {
  return mask(text_->validation_batch(index, num_samples), {kValidation, index});
}

MicroBatch MaskedText::mask(MicroBatch batch, const Keys& keys) const {
  batch.targets = at::full_like(batch.inputs.front(), -1);
  const std::int64_t length = batch.inputs.front().size(1);
  for (std::int64_t row = 0; row < batch.inputs.front().size(0); ++row) {
    auto* tokens = batch.inputs.front().mutable_data_ptr<std::int64_t>() + row * length;
    auto* targets = batch.targets.mutable_data_ptr<std::int64_t>() + row * length;
    const auto sample = static_cast<std::uint64_t>(keys.first + row);
    const std::uint64_t key = keyed_hash(Purpose::Masking, {options_.seed, keys.part, sample});
    const KeyedPermutation order(length, keyed_hash(Purpose::MaskedPlaces, {key}));
    for (std::int64_t i = 0; i < options_.num_masked; ++i) {
      const std::int64_t place = order(i);
      const auto number = static_cast<std::uint64_t>(i);
      const double fate = to_unit_interval(keyed_hash(Purpose::MaskedFate, {key, number}));
      targets[place] = tokens[place];
      if (fate < 0.8) {
        tokens[place] = options_.mask_token;
      } else if (fate < 0.9) {
        tokens[place] = static_cast<std::int64_t>(keyed_hash(Purpose::MaskedToken, {key, number}) %
                                                  static_cast<std::uint64_t>(options_.num_tokens));
      }
    }
  }
  return batch;
}

}  // namespace halfback
