#include "halfback/data/tokens/tokenizer_files.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/base/json.h"
#include "halfback/base/text.h"
#include "halfback/data/sentence_piece.h"
#include "halfback/data/tokens/tokenizer_class.h"
#include "halfback/data/tokens/tokenizer_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
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
constexpr const char* kAdded = "added_tokens.json";
constexpr auto kKept = std::to_array<const char*>(
    {kJson, kSentencePieceFile, kVocabulary, kWords, kMerges, kConfig, kMap, kAdded});
constexpr auto kOthers = std::to_array<std::string_view>({"spiece.model", "sentencepiece.bpe.model",
                                                          "source.spm", "target.spm", "tekken.json",
                                                          "vocab.bpe", kAdded, kWords, kMerges});

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

// Returns the files to keep. If `only` is given, it is the only one kept of those that define ids.
TokenizerFiles read_kept(const fs::path& directory, std::string_view only) {
  constexpr auto kBeside = std::to_array<std::string_view>({kConfig, kMap, kAdded});
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
        throw FileError(
            fmt::format("{}: not a JSON object; expected one; repair the file", source));
      }
      for (const auto& [key, value] : read.items()) {
        config.emplace(key, value);
      }
    }
  }
  return config;
}

[[noreturn]] void refuse_file(const fs::path& path, const std::string& why) {
  throw FileError(
      fmt::format("{}: {}; expected a {}, a {} or BERT's {}; convert it with transformers' "
                  "save_pretrained, or name another with --tokenizer FILE",
                  path.string(), why, kJson, kSentencePieceFile, kVocabulary));
}

TokenizerPointer make(TokenizerParts parts, const char* name, const fs::path& path) {
  parts.name = name;
  parts.source = path.string();
  return make_json_tokenizer(std::move(parts));
}

// A config value of the wrong type is an error of the file.
template <typename Make>
auto of_config(const fs::path& directory, const Make& make) {
  try {
    return make();
  } catch (const json::exception& error) {
    throw FileError(fmt::format("{}: a value of another type: {}; repair the file",
                                (directory / kConfig).string(), detail::json_reason(error.what())));
  }
}

// The tokens that transformers adds to a vocabulary of lines, unless tokenizer_config.json has
// them.
json read_added(const TokenizerFiles& files, const json& config, const fs::path& directory) {
  const auto found = files.find(kAdded);
  json added = json::array();
  if (config.contains("added_tokens_decoder") || found == files.end()) {
    return added;
  }
  std::map<std::int64_t, std::string> by_id;
  const json read = parse_json(found->second, (directory / kAdded).string());
  for (const auto& [content, id] : read.items()) {
    by_id[id.get<std::int64_t>()] = content;
  }
  for (const auto& [id, content] : by_id) {
    added.push_back({{"id", id}, {"content", content}});
  }
  return added;
}

json read_model_config(const fs::path& directory) {
  const fs::path path = directory / "config.json";
  return is_there(path) ? parse_json(read_file(path), path.string()) : json();
}

// transformers' choice of a class also depends on the config.json beside the files, and a
// checkpoint will have a different one.
void name_class(const std::string& name, TokenizerParts& parts) {
  if (class_of(parts.config).empty()) {
    json config =
        parts.files.contains(kConfig) ? json::parse(parts.files[kConfig]) : json::object();
    config["tokenizer_class"] = name;
    parts.files[kConfig] = config.dump(2) + "\n";
  }
}

enum class Files { AsTheyAre, WithTheClass };

TokenizerPointer find(const fs::path& directory, std::string_view only, Files kept) {
  TokenizerParts parts;
  parts.files = read_kept(directory, only);
  const auto has = [&](const char* name) { return parts.files.contains(name); };
  parts.config = read_config(parts.files, directory);
  if (has(kJson)) {
    parts.tokenizer = parse_json(parts.files[kJson], (directory / kJson).string());
    const std::string name = rebuild_as_class(
        parts.tokenizer, parts.config, read_model_config(directory), (directory / kJson).string());
    if (kept == Files::WithTheClass) {
      name_class(name, parts);
    }
    return make(std::move(parts), kJson, directory / kJson);
  }
  if (has(kSentencePieceFile)) {
    return parse_sentence_piece(std::move(parts.files), (directory / kSentencePieceFile).string());
  }
  if (has(kVocabulary)) {
    if (const std::string type = class_of(parts.config); !type.empty() && type != "BertTokenizer") {
      refuse_file(directory / kVocabulary, "is of a " + type);
    }
    parts.tokenizer =
        of_vocabulary(parts.files[kVocabulary], read_added(parts.files, parts.config, directory),
                      parts.config, (directory / kVocabulary).string());
    return make(std::move(parts), kVocabulary, directory / kVocabulary);
  }
  if (has(kWords) && has(kMerges) && class_of(parts.config) == "GPT2Tokenizer") {
    parts.tokenizer = of_merges(parse_json(parts.files[kWords], (directory / kWords).string()),
                                parts.files[kMerges], parts.config);
    return make(std::move(parts), kWords, directory / kWords);
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
  return of_config(directory, [&] { return find(directory, "", Files::AsTheyAre); });
}

TokenizerPointer load_tokenizer_of(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    const auto of_directory = [&] { return find(path, "", Files::WithTheClass); };
    if (TokenizerPointer found = of_config(path, of_directory)) {
      return found;
    }
    refuse_file(path, "holds no tokenizer");
  }
  const std::string name = path.filename().string();
  for (const char* const known : {kJson, kSentencePieceFile, kVocabulary}) {
    if (name == known && is_there(path)) {
      return of_config(path.parent_path(),
                       [&] { return find(path.parent_path(), known, Files::WithTheClass); });
    }
  }
  if (!name.ends_with(".json")) {
    return load_sentence_piece(path);
  }
  TokenizerParts parts;
  parts.files[kJson] = read_file(path);
  parts.tokenizer = parse_json(parts.files[kJson], path.string());
  name_class(kAsItIs, parts);
  return make(std::move(parts), kJson, path);
}

}  // namespace halfback
