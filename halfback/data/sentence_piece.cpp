#include "halfback/data/sentence_piece.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/base/utf8.h"
#include "halfback/data/tokens/around_text.h"
#include "halfback/data/tokens/characters.h"
#include "halfback/data/tokens/fields.h"
#include "halfback/data/tokens/token_decoder.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>
#include <unordered_map>
#include <utility>

namespace halfback {

namespace {

constexpr std::uint64_t kMaxModelBytes = std::uint64_t{1} << 28;
constexpr std::size_t kBlockBytes = std::size_t{1} << 16;
constexpr std::size_t kMaxTrainingBytes = std::size_t{1} << 30;
constexpr std::int64_t kNumOtherPieces = 3 + 256;  // <unk>, <s>, </s> and the bytes
constexpr const char* kConfigFile = "tokenizer_config.json";
constexpr std::string_view kSpaceSign = "\u2581";  // what SentencePiece writes for a space

// Returns the length of the beginning that SentencePiece does not change: UTF-8 without the sign.
std::size_t plain_length(std::string_view text) {
  std::size_t length = 0;
  while (length < text.size() && !text.substr(length).starts_with(kSpaceSign)) {
    const std::size_t character = character_length(text.substr(length));
    if (character == 0) {
      break;
    }
    length += character;
  }
  return length;
}

// Returns the length of a beginning of at most `longest` bytes, to its last line end if it has one.
std::size_t block_length(std::string_view text, std::size_t longest) {
  if (text.size() <= longest) {
    return text.size();
  }
  const std::size_t line_end = text.rfind('\n', longest - 1);
  return line_end == std::string_view::npos ? longest : line_end + 1;
}

// As in transformers: if a run of byte tokens is not UTF-8, each byte is an unknown character.
class PieceDecoder final : public TextDecoder {
 public:
  explicit PieceDecoder(const sentencepiece::SentencePieceProcessor& processor)
      : processor_(processor),
        chain_(make_token_decoder(
            {{"type", "Sequence"},
             {"decoders",
              {{{"type", "Replace"}, {"pattern", {{"String", kSpaceSign}}}, {"content", " "}},
               {{"type", "ByteFallback"}},
               {{"type", "Fuse"}}}}},
            "decoder")) {}

  std::string add(std::int64_t token) override {
    const int id = static_cast<int>(token);
    return processor_.IsControl(id) || processor_.IsUnknown(id)
               ? ""
               : chain_.add(processor_.IdToPiece(id));
  }
  std::string finish() override { return chain_.finish(); }

 private:
  const sentencepiece::SentencePieceProcessor& processor_;
  DecoderChain chain_;
};

class SentencePieceTokenizer final : public Tokenizer {
 public:
  SentencePieceTokenizer(TokenizerFiles files, const std::string& source)
      : files_(std::move(files)) {
    const std::string& model = files_[kSentencePieceFile];
    if (const auto status = processor_.LoadFromSerializedProto(model); !status.ok()) {
      throw FileError(fmt::format(
          "{}: {}; expected a SentencePiece model, as spm_train or --tokenizer sentencepiece makes",
          source, model.empty() ? "is empty" : status.error_message()));
    }
    const int count = processor_.GetPieceSize();
    for (int id = 0; id < count; ++id) {
      texts_.push_back(text_of_piece(id));
    }
    const int own_mask = processor_.PieceToId("<mask>");
    mask_ = processor_.IsUnknown(own_mask) ? count : own_mask;
    adds_space_ = adds_space();
    files_.emplace(kConfigFile, config().dump(2) + "\n");
    take_config(parse_json(files_[kConfigFile], source + ": " + kConfigFile), source);
  }

  std::int64_t vocabulary() const override { return processor_.GetPieceSize(); }
  std::int64_t mask_token() const override { return mask_; }
  std::vector<std::int32_t> prefix() const override { return around_.prefix; }
  std::vector<std::int32_t> suffix() const override { return around_.suffix; }
  std::string_view text_of(std::int64_t token) const override {
    return texts_.at(static_cast<std::size_t>(token));
  }
  bool is_special(std::int64_t token) const override {
    return processor_.IsControl(static_cast<int>(token));
  }
  std::unique_ptr<TextDecoder> decoder() const override {
    return std::make_unique<PieceDecoder>(processor_);
  }
  const TokenizerFiles& files() const override { return files_; }
  std::string identity() const override { return files_.at(kSentencePieceFile); }
  std::string name() const override { return "sentencepiece"; }

  std::vector<std::int32_t> encode(std::string_view text,
                                   const OnEncoded& on_encoded) const override {
    std::vector<std::int32_t> tokens;
    if (adds_space_) {  // only at the beginning of the text
      append_tokens(to_valid_utf8(text), tokens);
      return tokens;
    }
    for (std::size_t done = 0; done < text.size();) {
      const std::size_t length = block_length(text.substr(done), kBlockBytes);
      encode_block(text.substr(done, length), tokens);
      done += length;
      if (on_encoded) {
        on_encoded(static_cast<std::int64_t>(done));
      }
    }
    return tokens;
  }

 private:
  // Returns what a piece adds to a text, and records which byte it is.
  std::string text_of_piece(int id) {
    const std::string piece = processor_.IdToPiece(id);
    if (const auto byte = byte_of(piece); byte && processor_.IsByte(id)) {
      byte_ids_[static_cast<unsigned char>(*byte)] = id;
      ++num_byte_ids_;
      return {*byte};
    }
    if (processor_.IsControl(id)) {
      return "";
    }
    if (processor_.IsUnknown(id)) {
      return "\u2047";  // two question marks
    }
    return replaced(piece, kSpaceSign, " ");
  }

  void encode_block(std::string_view block, std::vector<std::int32_t>& tokens) const {
    const bool has_bytes = num_byte_ids_ == byte_ids_.size();
    while (!block.empty()) {
      const std::size_t plain = has_bytes ? plain_length(block) : block.size();
      if (plain > 0) {
        append_tokens(block.substr(0, plain), tokens);
      } else {
        tokens.push_back(byte_ids_[static_cast<unsigned char>(block.front())]);
      }
      block.remove_prefix(std::max<std::size_t>(plain, 1));
    }
  }

  void append_tokens(std::string_view text, std::vector<std::int32_t>& tokens) const {
    std::vector<int> ids;
    const auto status = processor_.Encode(text, &ids);
    HALFBACK_CHECK(status.ok(), status.ToString());
    tokens.insert(tokens.end(), ids.begin(), ids.end());
  }

  bool adds_space() const {
    std::vector<std::int32_t> letter;
    append_tokens("a", letter);
    return !letter.empty() && text_of(letter.front()).starts_with(' ');
  }

  // Returns a config with which Hugging Face's AutoTokenizer gives our ids.
  nlohmann::json config() const {
    return {{"tokenizer_class", "LlamaTokenizer"},
            {"add_prefix_space", adds_space_},
            {"add_bos_token", false},
            {"add_eos_token", false}};
  }

  // A class of transformers without the model's normalizer, or with another rule for the space in
  // front, gives other ids.
  void take_config(nlohmann::json config, const std::string& source) {
    Fields fields(config, source + ": " + kConfigFile);
    if (fields.get<bool>("add_prefix_space", true) != adds_space_) {
      fields.refuse(fmt::format("add_prefix_space {} for a model that {} a space", !adds_space_,
                                adds_space_ ? "adds" : "does not add"),
                    adds_space_ ? "true" : "false");
    }
    config.emplace("bos_token", "<s>");
    config.emplace("eos_token", "</s>");
    around_ = read_around_text(
        config,
        [&](std::string_view token) {
          const int id = processor_.PieceToId(token);
          return processor_.IsUnknown(id) ? -1 : id;
        },
        fields.part());
  }

  TokenizerFiles files_;
  sentencepiece::SentencePieceProcessor processor_;
  std::vector<std::string> texts_;  // by id
  std::array<std::int32_t, 256> byte_ids_ = {};
  std::size_t num_byte_ids_ = 0;
  std::int64_t mask_ = 0;
  bool adds_space_ = false;
  AroundText around_;
};

// Lines of a text for the trainer, split into plain parts: it would drop a whole line with anything
// else in it.
class Lines final : public sentencepiece::SentenceIterator {
 public:
  explicit Lines(std::string_view text) : text_(text) { Next(); }

  bool done() const override { return line_.empty(); }
  void Next() override {
    line_.clear();
    while (!text_.empty() && line_.empty()) {
      const std::string_view block = text_.substr(0, std::min(text_.size(), kLongest));
      const std::size_t end = std::min(block.find_first_of("\n\0", 0, 2), block.size());
      const std::size_t plain = plain_length(block.substr(0, end));
      line_ = block.substr(0, plain);
      text_.remove_prefix(std::max<std::size_t>(plain, 1));
    }
  }
  const std::string& value() const override { return line_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  static constexpr std::size_t kLongest = 4096;  // below what the trainer takes

  std::string_view text_;
  std::string line_;
};

}  // namespace

TokenizerPointer parse_sentence_piece(TokenizerFiles files, const std::string& source) {
  return std::make_shared<const SentencePieceTokenizer>(std::move(files), source);
}

TokenizerPointer load_sentence_piece(const std::filesystem::path& path) {
  return parse_sentence_piece({{kSentencePieceFile, read_file(path, kMaxModelBytes)}},
                              path.string());
}

TokenizerPointer train_sentence_piece(std::string_view text, std::int64_t vocabulary) {
  if (vocabulary <= kNumOtherPieces || vocabulary > std::numeric_limits<int>::max()) {
    throw ConfigError(fmt::format(
        "tokenizer: a vocabulary of {}; expected more than {}, which single bytes and marks take; "
        "raise --vocabulary",
        vocabulary, kNumOtherPieces));
  }
  const std::unordered_map<std::string, std::string> options = {
      {"model_type", "bpe"},
      {"vocab_size", std::to_string(vocabulary)},
      {"byte_fallback", "true"},
      {"normalization_rule_name", "identity"},
      {"add_dummy_prefix", "false"},
      {"remove_extra_whitespaces", "false"},
      {"shuffle_input_sentence", "false"},
      {"num_threads", "1"},
      {"minloglevel", "3"},
  };
  Lines lines(text.substr(0, block_length(text, kMaxTrainingBytes)));
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(options, &lines, &model);
  if (!status.ok()) {
    std::string_view reason = status.error_message();
    if (const std::size_t place = reason.rfind("] "); place != std::string_view::npos) {
      reason.remove_prefix(place + 2);  // the library's source line and condition
    }
    if (reason.ends_with('.')) {
      reason.remove_suffix(1);
    }
    throw ConfigError(
        fmt::format("tokenizer: the text gives no vocabulary of {}: {}; use another --vocabulary",
                    vocabulary, reason));
  }
  return parse_sentence_piece({{kSentencePieceFile, std::move(model)}}, "tokenizer");
}

}  // namespace halfback
