#include "halfback/data/byte_text.h"

#include "halfback/base/error.h"
#include "halfback/base/keyed_random.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>

namespace halfback {

namespace {

// The last word of each key, so that the draws are independent.
constexpr std::uint64_t kOrderKey = 1;
constexpr std::uint64_t kOffsetKey = 2;

const ByteTextOptions& checked(const ByteTextOptions& options) {
  if (options.sequence_length < 1) {
    throw ConfigError(fmt::format("data: sequence length {}; expected at least 1; raise it",
                                  options.sequence_length));
  }
  if (!(options.validation_fraction >= 0.0 && options.validation_fraction < 1.0)) {
    throw ConfigError(
        fmt::format("data: validation fraction {}; expected 0 or more and under 1; "
                    "0.1 is usual",
                    options.validation_fraction));
  }
  return options;
}

void check_part(const ByteTextOptions& options,
                std::string_view part,
                std::size_t num_bytes,
                std::size_t part_bytes) {
  if (part_bytes <= static_cast<std::size_t>(options.sequence_length)) {
    throw FileError(
        fmt::format("{}: {} of its {} bytes are for {}; one sequence of {} needs {}; use a longer "
                    "text, shorter "
                    "sequences or another validation fraction (now {})",
                    options.path, part_bytes, num_bytes, part, options.sequence_length,
                    options.sequence_length + 1, options.validation_fraction));
  }
}

}  // namespace

ByteText::ByteText(const ByteTextOptions& options)
    : file_(checked(options).path), seed_(options.seed), length_(options.sequence_length) {
  const std::string_view bytes = file_.bytes();
  if (bytes.empty()) {
    throw FileError(
        fmt::format("{}: is empty; expected text of at least {} bytes; use another file",
                    options.path, length_ + 1));
  }
  const auto num_validation =
      static_cast<std::size_t>(static_cast<double>(bytes.size()) * options.validation_fraction);
  train_ = bytes.substr(0, bytes.size() - num_validation);
  validation_ = bytes.substr(train_.size());
  check_part(options, "training", bytes.size(), train_.size());
  if (options.validation_fraction > 0.0) {
    check_part(options, "validation", bytes.size(), validation_.size());
    num_validation_windows_ = (static_cast<std::int64_t>(validation_.size()) - 1) / length_;
  }
  const auto num_whole = (static_cast<std::int64_t>(train_.size()) - 1) / length_;
  num_train_windows_ = std::max<std::int64_t>(num_whole - 1, 1);
}

std::size_t ByteText::train_begin(std::int64_t position) const {
  const auto epoch = static_cast<std::uint64_t>(position / num_train_windows_);
  const std::int64_t room = static_cast<std::int64_t>(train_.size()) - num_train_windows_ * length_;
  const auto num_offsets = static_cast<std::uint64_t>(std::min(room, length_));
  const KeyedPermutation order(num_train_windows_, keyed_hash({seed_, epoch, kOrderKey}));
  const std::uint64_t offset = keyed_hash({seed_, epoch, kOffsetKey}) % num_offsets;
  return offset + static_cast<std::size_t>(order(position % num_train_windows_) * length_);
}

Batch ByteText::empty_batch(std::int64_t num_sequences) const {
  return {.inputs = at::empty({num_sequences, length_}, at::kLong),
          .targets = at::empty({num_sequences, length_}, at::kLong)};
}

void ByteText::fill(Batch& batch,
                    std::int64_t row,
                    std::string_view part,
                    std::size_t begin) const {
  const std::string_view window = part.substr(begin, static_cast<std::size_t>(length_) + 1);
  const auto to_token = [](char byte) {
    return static_cast<std::int64_t>(static_cast<unsigned char>(byte));
  };
  auto* inputs = batch.inputs.mutable_data_ptr<std::int64_t>() + row * length_;
  auto* targets = batch.targets.mutable_data_ptr<std::int64_t>() + row * length_;
  std::transform(window.begin(), window.end() - 1, inputs, to_token);
  std::transform(window.begin() + 1, window.end(), targets, to_token);
}

Batch ByteText::train_batch(std::int64_t position, std::int64_t num_sequences) const {
  HALFBACK_CHECK(position >= 0 && num_sequences >= 0,
                 fmt::format("position {}, {} sequences", position, num_sequences));
  Batch batch = empty_batch(num_sequences);
  for (std::int64_t row = 0; row < num_sequences; ++row) {
    fill(batch, row, train_, train_begin(position + row));
  }
  return batch;
}

Batch ByteText::validation_batch(std::int64_t index, std::int64_t num_sequences) const {
  HALFBACK_CHECK(
      index >= 0 && num_sequences >= 0 && index <= num_validation_windows_ &&
          num_sequences <= num_validation_windows_ - index,
      fmt::format("windows {} to {} of {}", index, index + num_sequences, num_validation_windows_));
  Batch batch = empty_batch(num_sequences);
  for (std::int64_t row = 0; row < num_sequences; ++row) {
    fill(batch, row, validation_, static_cast<std::size_t>((index + row) * length_));
  }
  return batch;
}

}  // namespace halfback
