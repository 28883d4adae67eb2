// Text as a sequence of tokens of any kind: what byte text and SentencePiece text share.
//
// The first part of the file's bytes is for training, the last for validation. Training windows of
// T tokens do not overlap; each epoch visits every window once, in an order and from a starting
// token that depend only on (seed, epoch). So a batch depends only on (seed, position), not on
// ranks, stages or micro-batches, and a run resumes by its position.
//
// N sequences, T tokens of a sequence.
#pragma once

#include "halfback/base/file.h"
#include "halfback/data/dataset.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace halfback {

struct TextOptions {
  std::string path;
  std::int64_t sequence_length = 0;  // T
  double validation_fraction = 0.1;  // of the file's bytes, at its end; 0 for none
  std::uint64_t seed = 0;
};

// A text file with its training and validation parts.
class TextFile {
 public:
  // Maps the file. Throws ConfigError for a fraction below 0 or not below 1, FileError for a file
  // that cannot be read or is empty.
  TextFile(const std::string& path, double validation_fraction);

  std::string_view training() const { return file_.bytes().substr(0, num_training_bytes_); }
  std::string_view validation() const { return file_.bytes().substr(num_training_bytes_); }
  std::string_view bytes() const { return file_.bytes(); }

 private:
  MappedFile file_;
  std::size_t num_training_bytes_ = 0;
};

class Text : public Dataset {
 public:
  // Windows in an epoch: about (training tokens - 1) / T, minus one to leave room for the start.
  std::int64_t num_train_samples() const override { return num_train_windows_; }
  std::int64_t num_validation_samples() const override { return num_validation_windows_; }
  DataIdentity identity() const override;

  // Inputs [N, T]; the targets are the token after each. A batch may span two epochs.
  MicroBatch train_batch(std::int64_t position, std::int64_t num_sequences) const final;
  MicroBatch validation_batch(std::int64_t index, std::int64_t num_sequences) const final;

 protected:
  enum class Part { Training, Validation };
  struct NumTokens {
    std::int64_t training = 0;
    std::int64_t validation = 0;
  };

  // Throws like TextFile, and ConfigError for another option out of range.
  explicit Text(const TextOptions& options);
  const TextFile& file() const { return file_; }

  // The constructor of the class that knows the tokens calls this once; `unit` is the tokens' name
  // in messages. Throws FileError, with the numbers, for a part shorter than one sequence of T + 1.
  void lay_windows(const NumTokens& tokens, const char* unit);

  // Copies tokens of a part, starting at `begin`.
  virtual void copy_tokens(Part part, std::int64_t begin, std::span<std::int64_t> to) const = 0;

 private:
  std::int64_t train_begin(std::int64_t position) const;
  void fill(MicroBatch& batch, std::int64_t row, Part part, std::int64_t begin) const;

  TextOptions options_;
  TextFile file_;
  std::int64_t num_train_tokens_ = 0;
  std::int64_t num_train_windows_ = 0;
  std::int64_t num_validation_windows_ = 0;
};

}  // namespace halfback
