#include "cli/tokenizer_option.h"

#include "cli/options.h"
#include "halfback/base/error.h"
#include "halfback/base/text.h"
#include "halfback/checkpoint/checkpoint.h"
#include "halfback/data/sentence_piece.h"
#include "halfback/data/tokens/tokenizer_files.h"
#include "halfback/train/training_data.h"

#include <fmt/format.h>

#include <iostream>
#include <system_error>

namespace halfback::cli {

namespace {

constexpr const char* kBytes = "bytes";
constexpr const char* kLearned = "sentencepiece";
constexpr std::int64_t kDefaultVocabulary = 4096;

void set_vocabulary(ModelConfig& model, std::int64_t vocabulary) {
  for (const ModelSize& size : sizes_of(model)) {
    if (size.name == std::string("vocabulary")) {
      set_from_text(size, std::to_string(vocabulary));
    }
  }
}

// Reserves a token of the model for the mask if it has one.
TokenizerPointer learned(const TrainingConfig& config, std::int64_t vocabulary) {
  const TextFile text(config.data, text_validation_fraction(config));
  const std::int64_t count = vocabulary - (task_of(config.model) == Task::MaskedToken ? 1 : 0);
  std::cerr << fmt::format("learning a tokenizer of {} pieces from {}\n", count,
                           format_bytes(static_cast<std::int64_t>(text.training().size())));
  return train_sentence_piece(text.training(), count);
}

}  // namespace

void TokenizerOption::add_to(CLI::App& verb) {
  option_ = add_option(
      verb, "--tokenizer", name_, "bytes|sentencepiece|FILE",
      "Tokenizer: bytes; sentencepiece, trained on the text with --vocabulary tokens (4096); or a "
      "tokenizer.json, a vocab.txt, a SentencePiece model, or a directory that contains one");
}

TokenizerPointer TokenizerOption::find(const TrainingConfig& config, const Given& given) const {
  std::error_code ignored;
  const bool is_given = option_->count() > 0;
  const bool is_file =
      is_given && name_ != kBytes && name_ != kLearned && std::filesystem::exists(name_, ignored);
  if (is_file) {
    return load_tokenizer_of(name_);
  }
  if (!given.checkpoint.empty()) {
    TokenizerPointer theirs = load_tokenizer(given.checkpoint);
    if (!is_given || name_ == theirs->name()) {
      return theirs;
    }
    if (name_ == kLearned) {
      throw ConfigError(fmt::format(
          "--tokenizer {} learns a new tokenizer, and {} has its own ({}); expected the "
          "same tokens; leave --tokenizer out",
          kLearned, given.checkpoint.string(), theirs->name()));
    }
  }
  if (name_ == kBytes) {
    return byte_tokenizer();
  }
  if (name_ == kLearned) {
    return learned(config, given.vocabulary.value_or(kDefaultVocabulary));
  }
  throw ConfigError(fmt::format(
      "--tokenizer: '{}' is not a file{}; expected {}, {}, a tokenizer.json, a vocab.txt, "
      "a SentencePiece model or a directory with one of these",
      name_, suggestion(name_.substr(0, 40), {kBytes, kLearned}), kBytes, kLearned));
}

void TokenizerOption::apply(TrainingConfig& config, const Given& given) {
  if (task_of(config.model) == Task::Classes) {
    if (name_ != kBytes) {
      throw ConfigError(
          fmt::format("--tokenizer: {} takes images; leave it out", model_name(config.model)));
    }
    return;
  }
  config.tokenizer = find(config, given);
  if (!given.vocabulary) {
    set_vocabulary(config.model, needed_vocabulary(config.model, *config.tokenizer));
  }
  if (option_->count() == 0) {
    option_->add_result(config.tokenizer->name());  // for a written configuration
  }
}

}  // namespace halfback::cli
