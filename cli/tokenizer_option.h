// --tokenizer: how the text of a training run becomes tokens.
#pragma once

#include "halfback/train/training.h"

#include <CLI/CLI.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace halfback::cli {

class TokenizerOption {
 public:
  // The verb's callback must keep this object alive.
  void add_to(CLI::App& verb);

  // What is known of a run before its tokenizer.
  struct Given {
    std::filesystem::path checkpoint;        // that it resumes or starts from; "" for none
    std::optional<std::int64_t> vocabulary;  // of the model; if not given, the tokenizer's
  };
  // Sets the tokenizer of the configuration, and the model's vocabulary if it is not given. The
  // tokenizer is the checkpoint's, else bytes, a file's, or learned from the training text. Throws
  // ConfigError for a name that is neither known nor a file, and for a model without text;
  // FileError for a file that is not a tokenizer.
  void apply(TrainingConfig& config, const Given& given);

 private:
  TokenizerPointer find(const TrainingConfig& config, const Given& given) const;

  std::string name_ = "bytes";
  CLI::Option* option_ = nullptr;
};

}  // namespace halfback::cli
