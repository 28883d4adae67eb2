#include "halfback/data/text.h"

#include "halfback/base/error.h"
#include "halfback/base/keyed_random.h"
#include "halfback/data/crc32.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace halfback {

namespace {

const TextOptions& checked(const TextOptions& options) {
  if (options.sequence_length < 1) {
    throw ConfigError(fmt::format("data: sequence length {}; expected at least 1; raise it",
                                  options.sequence_length));
  }
  return options;
}

double checked_fraction(double fraction) {
  if (!(fraction >= 0.0 && fraction < 1.0)) {
    throw ConfigError(
        fmt::format("data: validation fraction {}; expected 0 or more and under 1; "
                    "0.1 is usual",
                    fraction));
  }
  return fraction;
}

MicroBatch empty_batch(std::int64_t num_sequences, std::int64_t length) {
  return {.inputs = {at::empty({num_sequences, length}, at::kLong)},
          .targets = at::empty({num_sequences, length}, at::kLong)};
}

}  // namespace

TextFile::TextFile(const std::string& path, double validation_fraction) : file_(path) {
  const std::size_t count = bytes().size();
  num_training_bytes_ = count - static_cast<std::size_t>(static_cast<double>(count) *
                                                         checked_fraction(validation_fraction));
  if (count == 0) {
    throw FileError(fmt::format("{}: is empty; expected text; use another file", path));
  }
}

Text::Text(const TextOptions& options)
    : options_(checked(options)), file_(options.path, options.validation_fraction) {}

DataIdentity Text::identity() const {
  return {.num_bytes = static_cast<std::int64_t>(file_.bytes().size()),
          .num_training_bytes = static_cast<std::int64_t>(file_.training().size()),
          .crc32 = crc32_of(file_.bytes())};
}

void Text::lay_windows(const NumTokens& tokens, const char* unit) {
  const std::int64_t length = options_.sequence_length;
  const auto check_part = [&](const char* part, std::int64_t count) {
    if (count <= length) {
      throw FileError(fmt::format(
          "{}: {} of its {} {} are for {}; one sequence of {} needs {}; use a longer text, shorter "
          "sequences or another validation fraction (now {})",
          options_.path, count, tokens.training + tokens.validation, unit, part, length, length + 1,
          options_.validation_fraction));
    }
  };
  check_part("training", tokens.training);
  if (options_.validation_fraction > 0.0) {
    check_part("validation", tokens.validation);
    num_validation_windows_ = (tokens.validation - 1) / length;
  }
  num_train_tokens_ = tokens.training;
  num_train_windows_ = std::max<std::int64_t>((tokens.training - 1) / length - 1, 1);
}

std::int64_t Text::train_begin(std::int64_t position) const {
  const std::uint64_t seed = options_.seed;
  const std::int64_t length = options_.sequence_length;
  const auto epoch = static_cast<std::uint64_t>(position / num_train_windows_);
  const std::int64_t room = num_train_tokens_ - num_train_windows_ * length;
  const auto num_offsets = static_cast<std::uint64_t>(std::min(room, length));
  const KeyedPermutation order(num_train_windows_, keyed_hash(Purpose::TextOrder, {seed, epoch}));
  const std::uint64_t offset = keyed_hash(Purpose::TextOffset, {seed, epoch}) % num_offsets;
  return static_cast<std::int64_t>(offset) + order(position % num_train_windows_) * length;
}

void Text::fill(MicroBatch& batch, std::int64_t row, Part part, std::int64_t begin) const {
  const std::int64_t length = options_.sequence_length;
  std::vector<std::int64_t> window(static_cast<std::size_t>(length) + 1);
  copy_tokens(part, begin, window);
  std::copy(window.begin(), window.end() - 1,
            batch.inputs.front().mutable_data_ptr<std::int64_t>() + row * length);
  std::copy(window.begin() + 1, window.end(),
            batch.targets.mutable_data_ptr<std::int64_t>() + row * length);
}

MicroBatch Text::train_batch(std::int64_t position, std::int64_t num_sequences) const {
  HALFBACK_CHECK(position >= 0 && num_sequences >= 0,
                 fmt::format("position {}, {} sequences", position, num_sequences));
  MicroBatch batch = empty_batch(num_sequences, options_.sequence_length);
  for (std::int64_t row = 0; row < num_sequences; ++row) {
    fill(batch, row, Part::Training, train_begin(position + row));
  }
  return batch;
}

MicroBatch Text::validation_batch(std::int64_t index, std::int64_t num_sequences) const {
  HALFBACK_CHECK(
      index >= 0 && num_sequences >= 0 && index <= num_validation_windows_ &&
          num_sequences <= num_validation_windows_ - index,
      fmt::format("windows {} to {} of {}", index, index + num_sequences, num_validation_windows_));
  MicroBatch batch = empty_batch(num_sequences, options_.sequence_length);
  for (std::int64_t row = 0; row < num_sequences; ++row) {
    fill(batch, row, Part::Validation, (index + row) * options_.sequence_length);
  }
  return batch;
}

}  // namespace halfback
