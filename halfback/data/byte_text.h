// Text as bytes: any file, 256 tokens, no tokenizer.
//
// The first part of the file is for training, the last for validation. Training windows of T
// bytes do not overlap; each epoch visits every one once, in an order and from a starting byte
// that are functions of (seed, epoch) alone. So a batch is a function of (seed, position),
// whatever the ranks, stages or micro-batches, and a run resumes by its position.
//
// N sequences, T bytes of a sequence.
#pragma once

#include "halfback/base/file.h"
#include "halfback/data/dataset.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace halfback {

struct ByteTextOptions {
  std::string path;
  std::int64_t sequence_length = 0;  // T
  double validation_fraction = 0.1;  // of the file's bytes, at its end; 0 for none
  std::uint64_t seed = 0;
};

// Thread-safe once made.
class ByteText final : public Dataset {
 public:
  static constexpr std::int64_t kVocabularySize = 256;

  // Maps the file. Throws ConfigError for options out of range, FileError for a file that cannot
  // be read or whose parts hold less than one sequence of T + 1 bytes, with the numbers.
  explicit ByteText(const ByteTextOptions& options);

  // Windows in an epoch: about (training bytes - 1) / T, less one that gives room to the start.
  std::int64_t num_train_windows() const { return num_train_windows_; }
  std::int64_t num_validation_samples() const override { return num_validation_windows_; }
  std::int64_t num_bytes() const override {
    return static_cast<std::int64_t>(file_.bytes().size());
  }

  // Inputs [N, T] and, as targets, the byte after each. Epochs may meet in a batch.
  Batch train_batch(std::int64_t position, std::int64_t num_sequences) const override;
  Batch validation_batch(std::int64_t index, std::int64_t num_sequences) const override;

 private:
  std::size_t train_begin(std::int64_t position) const;
  Batch empty_batch(std::int64_t num_sequences) const;
  void fill(Batch& batch, std::int64_t row, std::string_view part, std::size_t begin) const;

  MappedFile file_;
  std::uint64_t seed_;
  std::int64_t length_;
  std::string_view train_;
  std::string_view validation_;
  std::int64_t num_train_windows_ = 0;
  std::int64_t num_validation_windows_ = 0;
};

}  // namespace halfback
