#include "halfback/data/tokens/tokenizer_files.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/base/json.h"
#include "halfback/base/text.h"
#include "halfback/data/sentence_piece.h"
#include "halfback/data/tokens/around_text.h"
#include "halfback/data/tokens/tokenizer_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <system_error>
#include <utility>

namespace halfback {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kConfig = "tokenizer_config.json";
constexpr const char* kMap = "special_tokens_map.json";
constexpr const char* kJson = "tokenizer.json";
constexpr const char* kVocabulary = "vocab.txt";
constexpr const char* kWords = "vocab.json";
constexpr const char* kMerges = "merges.txt";
constexpr auto kKept = std::to_array<const char*>(
    {kJson, kSentencePieceFile, kVocabulary, kWords, kMerges, kConfig, kMap, "added_tokens.json"});
constexpr auto kOthers = std::to_array<std::string_view>(
    {"spiece.model", "sentencepiece.bpe.model", "source.spm", "target.spm", "tekken.json",
     "vocab.bpe", "added_tokens.json", kWords, kMerges});

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

// Returns the files to keep; of those that define ids only `only`, if given.
TokenizerFiles read_kept(const fs::path& directory, std::string_view only) {
  constexpr auto kBeside = std::to_array<std::string_view>({kConfig, kMap});
  TokenizerFiles files;
  for (const char* const name : kKept) {
    const bool is_meant =
        only.empty() || name == only || std::ranges::find(kBeside, name) != kBeside.end();
    if (is_meant && is_there(directory / name)) {
      files[name] = read_file(directory / name);
    }
  }
  return files;
}

// Returns tokenizer_config.json, with the tokens that only special_tokens_map.json names.
json read_config(const TokenizerFiles& files, const fs::path& directory) {
  json config = json::object();
  for (const char* const name : {kConfig, kMap}) {
    if (const auto found = files.find(name); found != files.end()) {
      const std::string source = (directory / name).string();
      const json read = parse_json(found->second, source);
      if (!read.is_object()) {
        throw FileError(fmt::format("{}: no JSON object; expected one; repair the file", source));
      }
      for (const auto& [key, value] : read.items()) {
        config.emplace(key, value);
      }
    }
  }
  return config;
}

// Returns the name of a class of transformers without what it says about its language.
std::string class_of(const json& config) {
  std::string name = config.value("tokenizer_class", "");
  if (name.ends_with("Fast")) {
    name.resize(name.size() - 4);
  }
  return name;
}

json special(const std::string& content) {
  return {{"content", content}, {"special", true}, {"normalized", false}};
}

json words_of(std::string_view text) {
  json words = json::object();
  std::int64_t id = 0;
  for (std::string_view line : split(text, '\n')) {
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    if (!line.empty() || line.data() != text.data() + text.size()) {
      words[std::string(line)] = id;
    }
    ++id;
  }
  return words;
}

// The tokenizer.json that transformers makes of BERT's vocab.txt.
json of_vocabulary(const std::string& text, json& config) {
  for (const auto& [name, token] : {std::pair{"unk_token", "[UNK]"},
                                    {"sep_token", "[SEP]"},
                                    {"pad_token", "[PAD]"},
                                    {"cls_token", "[CLS]"},
                                    {"mask_token", "[MASK]"}}) {
    config.emplace(name, token);
  }
  json words = words_of(text);
  json added = json::array();
  for (const char* const name :
       {"unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
    added.push_back(special(named_token(config, name)));
  }
  const auto id = [&](const char* name) {
    const std::string token = named_token(config, name);
    return json{token, words.value(token, 0)};
  };
  json made = {{"added_tokens", std::move(added)},
               {"normalizer",
                {{"type", "BertNormalizer"},
                 {"clean_text", true},
                 {"handle_chinese_chars", config.value("tokenize_chinese_chars", true)},
                 {"strip_accents", config.value("strip_accents", json())},
                 {"lowercase", config.value("do_lower_case", true)}}},
               {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
               {"post_processor",
                {{"type", "BertProcessing"}, {"sep", id("sep_token")}, {"cls", id("cls_token")}}},
               {"decoder", {{"type", "WordPiece"}}}};
  made["model"] = {{"type", "WordPiece"},
                   {"unk_token", named_token(config, "unk_token")},
                   {"vocab", std::move(words)}};
  return made;
}

// The tokenizer.json that transformers makes of GPT-2's vocab.json and merges.txt.
json of_merges(const json& words, std::string_view merges, json& config) {
  for (const char* const name : {"unk_token", "bos_token", "eos_token"}) {
    config.emplace(name, "<|endoftext|>");
  }
  json pairs = json::array();
  for (const std::string_view line : split(merges, '\n')) {
    if (!trim(line).empty() && !line.starts_with("#version")) {
      pairs.push_back(trim(line));
    }
  }
  return {{"added_tokens", json::array()},
          {"pre_tokenizer",
           {{"type", "ByteLevel"}, {"add_prefix_space", config.value("add_prefix_space", false)}}},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", words}, {"merges", std::move(pairs)}}}};
}

[[noreturn]] void refuse_file(const fs::path& path, const std::string& why) {
  throw FileError(
      fmt::format("{}: {}; expected a {}, a {} or BERT's {}; convert it with transformers' "
                  "save_pretrained, or name another with --tokenizer FILE",
                  path.string(), why, kJson, kSentencePieceFile, kVocabulary));
}

TokenizerPointer make(TokenizerParts parts, const char* name, const fs::path& directory) {
  parts.name = name;
  parts.source = (directory / name).string();
  return make_json_tokenizer(std::move(parts));
}

// A config's value that is not of its type is an error of the file.
template <typename Make>
auto of_config(const fs::path& directory, const Make& make) {
  try {
    return make();
  } catch (const json::exception& error) {
    throw FileError(fmt::format("{}: a value of another type: {}; repair the file",
                                (directory / kConfig).string(), detail::json_reason(error.what())));
  }
}

TokenizerPointer find(const fs::path& directory, std::string_view only) {
  TokenizerParts parts;
  parts.files = read_kept(directory, only);
  const auto has = [&](const char* name) { return parts.files.contains(name); };
  parts.config = read_config(parts.files, directory);
  if (has(kJson)) {
    parts.identity = parts.files[kJson];
    parts.tokenizer = parse_json(parts.identity, (directory / kJson).string());
    return make(std::move(parts), kJson, directory);
  }
  if (has(kSentencePieceFile)) {
    return parse_sentence_piece(std::move(parts.files), (directory / kSentencePieceFile).string());
  }
  if (has(kVocabulary)) {
    if (const std::string type = class_of(parts.config); !type.empty() && type != "BertTokenizer") {
      refuse_file(directory / kVocabulary, "is of a " + type);
    }
    parts.tokenizer = of_vocabulary(parts.files[kVocabulary], parts.config);
    parts.identity = parts.tokenizer.dump();
    return make(std::move(parts), kVocabulary, directory);
  }
  if (has(kWords) && has(kMerges) && class_of(parts.config) == "GPT2Tokenizer") {
    parts.tokenizer = of_merges(parse_json(parts.files[kWords], (directory / kWords).string()),
                                parts.files[kMerges], parts.config);
    parts.identity = parts.tokenizer.dump();
    return make(std::move(parts), kWords, directory);
  }
  for (const std::string_view name : kOthers) {
    if (is_there(directory / name)) {
      refuse_file(directory / name, "is a tokenizer of another kind");
    }
  }
  return nullptr;
}

}  // namespace

TokenizerPointer find_tokenizer(const fs::path& directory) {
  return of_config(directory, [&] { return find(directory, ""); });
}

TokenizerPointer load_tokenizer_of(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    if (TokenizerPointer found = find_tokenizer(path)) {
      return found;
    }
    refuse_file(path, "holds no tokenizer");
  }
  const std::string name = path.filename().string();
  for (const char* const known : {kJson, kSentencePieceFile, kVocabulary}) {
    if (name == known && is_there(path)) {
      return of_config(path.parent_path(), [&] { return find(path.parent_path(), known); });
    }
  }
  if (!name.ends_with(".json")) {
    return load_sentence_piece(path);
  }
  TokenizerParts parts;
  parts.files[kJson] = parts.identity = read_file(path);
  parts.tokenizer = parse_json(parts.identity, path.string());
  parts.name = kJson;
  parts.source = path.string();
  return make_json_tokenizer(std::move(parts));
}

}  // namespace halfback
