#include "halfback/data/tokens/tokenizer_class.h"

#include "halfback/base/text.h"
#include "halfback/data/tokens/around_text.h"
#include "halfback/data/tokens/fields.h"
#include "halfback/data/tokens/token_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace halfback {

namespace {

using nlohmann::json;

constexpr const char* kSpace = "\u2581";
constexpr const char* kQwen =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

std::string text_at(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

bool flag_at(const json& config, const char* key, bool otherwise) {
  const auto found = config.find(key);
  return found == config.end() || found->is_null() ? otherwise : found->get<bool>();
}

// Adds token names, of {"NAME": "TOKEN", ...}, that the config lacks.
void name_tokens(json& config, const char* names_and_tokens) {
  const json read = json::parse(names_and_tokens);
  config.insert(read.begin(), read.end());
}

// Returns the class that AutoTokenizer uses; "" for one that uses a tokenizer.json unchanged.
std::string class_taken(const json& tokenizer, const json& config, const json& model) {
  const std::string type = text_at(model, "model_type");
  std::string name = class_of(config);
  name = name.empty() ? class_of({{"tokenizer_class", text_at(model, "tokenizer_class")}}) : name;
  if (type == "qwen2") {
    return "Qwen2Tokenizer";
  }
  if (type == "mistral" || type == "mixtral") {
    return "";
  }
  for (const auto& [of_type, its_class] : {std::pair{"bert", "BertTokenizer"},
                                           {"distilbert", "BertTokenizer"},
                                           {"gpt2", "GPT2Tokenizer"},
                                           {"mamba", "GPTNeoXTokenizer"},
                                           {"qwen3", "Qwen2Tokenizer"}}) {
    name = name.empty() && type == of_type ? its_class : name;
  }
  if (name == "LlamaTokenizer" &&
      (uses(tokenizer, "pre_tokenizer", "ByteLevel") || uses(tokenizer, "decoder", "ByteLevel"))) {
    return "";
  }
  return name == "DistilBertTokenizer" ? "BertTokenizer" : name;
}

json words_of(std::string_view text) {
  json words = json::object();
  std::int64_t id = 0;
  for (const std::string_view line : split(text, '\n')) {
    if (!line.empty() || line.data() != text.data() + text.size()) {
      words[std::string(line.substr(0, line.find_last_not_of(" \t\r\v\f") + 1))] = id;
    }
    ++id;
  }
  return words;
}

// Returns ["TOKEN", ID] of a named token that surrounds each text.
json around(const json& tokenizer,
            const json& config,
            const char* name,
            const std::string& source) {
  const std::string token = named_token(config, name);
  const json& words = tokenizer["model"]["vocab"];
  if (words.is_object() && words.contains(token)) {
    return {token, words[token]};
  }
  for (std::size_t id = 0; words.is_array() && id < words.size(); ++id) {
    if (words[id][0] == token) {
      return {token, id};
    }
  }
  for (const json& added : tokenizer["added_tokens"]) {
    if (text_at(added, "content") == token && added.contains("id")) {
      return {token, added["id"]};
    }
  }
  throw FileError(
      fmt::format("{}: {} {} is not in it; expected a token of it; correct {} in "
                  "tokenizer_config.json",
                  source, name, quote(token), name));
}

// Expects the vocabulary and the added tokens.
void rebuild_bert(json& tokenizer, json& config, const std::string& source) {
  name_tokens(config, R"({"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]",
                          "cls_token": "[CLS]", "mask_token": "[MASK]"})");
  tokenizer["model"]["unk_token"] = named_token(config, "unk_token");
  tokenizer["normalizer"] = {{"type", "BertNormalizer"},
                             {"clean_text", true},
                             {"handle_chinese_chars", config.value("tokenize_chinese_chars", true)},
                             {"strip_accents", config.value("strip_accents", json())},
                             {"lowercase", config.value("do_lower_case", true)}};
  tokenizer["pre_tokenizer"] = {{"type", "BertPreTokenizer"}};
  tokenizer["post_processor"] = {{"type", "BertProcessing"},
                                 {"sep", around(tokenizer, config, "sep_token", source)},
                                 {"cls", around(tokenizer, config, "cls_token", source)}};
  tokenizer["decoder"] = {{"type", "WordPiece"}};
}

void rebuild_llama(json& tokenizer, json& config, const std::string& /*source*/) {
  name_tokens(config, R"({"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"})");
  const bool adds_space = flag_at(config, "add_prefix_space", true);
  const bool is_legacy = flag_at(config, "legacy", false);
  tokenizer["model"]["fuse_unk"] = true;
  tokenizer["model"]["byte_fallback"] = true;
  tokenizer["normalizer"] = nullptr;
  tokenizer["pre_tokenizer"] = {{"type", "Metaspace"},
                                {"replacement", kSpace},
                                {"prepend_scheme", !adds_space ? "never"
                                                   : is_legacy ? "always"
                                                               : "first"},
                                {"split", false}};
  json decoders = {{{"type", "Replace"}, {"pattern", {{"String", kSpace}}}, {"content", " "}},
                   {{"type", "ByteFallback"}},
                   {{"type", "Fuse"}}};
  if (adds_space) {
    decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  tokenizer["decoder"] = {{"type", "Sequence"}, {"decoders", std::move(decoders)}};
}

void rebuild_gpt2(json& tokenizer, json& config, const std::string& /*source*/) {
  name_tokens(config, R"({"unk_token": "<|endoftext|>", "bos_token": "<|endoftext|>",
                          "eos_token": "<|endoftext|>"})");
  tokenizer["normalizer"] = nullptr;
  tokenizer["pre_tokenizer"] = {{"type", "ByteLevel"},
                                {"add_prefix_space", config.value("add_prefix_space", false)}};
  tokenizer["decoder"] = {{"type", "ByteLevel"}};
}

void rebuild_neox(json& tokenizer, json& config, const std::string& source) {
  rebuild_gpt2(tokenizer, config, source);
  tokenizer["normalizer"] = {{"type", "NFC"}};
  tokenizer["post_processor"] = nullptr;
}

void rebuild_qwen(json& tokenizer, json& config, const std::string& /*source*/) {
  name_tokens(config, R"({"unk_token": "<|endoftext|>", "eos_token": "<|endoftext|>",
                          "pad_token": "<|endoftext|>"})");
  tokenizer["normalizer"] = {{"type", "NFC"}};
  const json cut = {{"type", "Split"},
                    {"pattern", {{"Regex", kQwen}}},
                    {"behavior", "Isolated"},
                    {"invert", false}};
  const json bytes = {{"type", "ByteLevel"},
                      {"add_prefix_space", flag_at(config, "add_prefix_space", false)},
                      {"use_regex", false}};
  tokenizer["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", json::array({cut, bytes})}};
  tokenizer["decoder"] = {{"type", "ByteLevel"}};
}

// Returns the first Precompiled of a normalizer; null for none.
json precompiled_of(const json& normalizer) {
  const bool is_sequence = text_at(normalizer, "type") == "Sequence";
  for (const json& one :
       is_sequence ? normalizer.value("normalizers", json()) : json::array({normalizer})) {
    if (text_at(one, "type") == "Precompiled") {
      return one;
    }
  }
  return nullptr;
}

void rebuild_xlm_roberta(json& tokenizer, json& config, const std::string& source) {
  name_tokens(config, R"({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
                          "sep_token": "</s>", "pad_token": "<pad>", "cls_token": "<s>",
                          "mask_token": "<mask>"})");
  tokenizer["model"]["unk_id"] = 3;
  tokenizer["model"][kExactScores] = true;  // the class reads scores with Python
  tokenizer["normalizer"] = precompiled_of(tokenizer.value("normalizer", json()));
  const json signs = {
      {"type", "Metaspace"},
      {"replacement", kSpace},
      {"prepend_scheme", flag_at(config, "add_prefix_space", true) ? "always" : "never"}};
  tokenizer["pre_tokenizer"] = {
      {"type", "Sequence"}, {"pretokenizers", json::array({{{"type", "WhitespaceSplit"}}, signs})}};
  tokenizer["post_processor"] = {{"type", "BertProcessing"},
                                 {"sep", around(tokenizer, config, "eos_token", source)},
                                 {"cls", around(tokenizer, config, "bos_token", source)}};
  tokenizer["decoder"] = signs;
}

struct KnownClass {
  std::string_view name;
  const char* type;  // of its model
  void (*rebuild)(json& tokenizer, json& config, const std::string& source);
};

constexpr auto kKnown =
    std::to_array<KnownClass>({{"BertTokenizer", "WordPiece", rebuild_bert},
                               {"GPT2Tokenizer", "BPE", rebuild_gpt2},
                               {"GPTNeoXTokenizer", "BPE", rebuild_neox},
                               {"LlamaTokenizer", "BPE", rebuild_llama},
                               {"Qwen2Tokenizer", "BPE", rebuild_qwen},
                               {"XLMRobertaTokenizer", "Unigram", rebuild_xlm_roberta}});

}  // namespace

std::string class_of(const json& config) {
  const auto found = config.find("tokenizer_class");
  std::string name = found == config.end() || found->is_null() ? "" : found->get<std::string>();
  if (name.ends_with("Fast")) {
    name.resize(name.size() - 4);
  }
  return name;
}

bool uses(const json& tokenizer, const char* part, std::string_view type) {
  return tokenizer.value(part, json()).dump().find(fmt::format(R"("type":"{}")", type)) !=
         std::string::npos;
}

std::string rebuild_as_class(json& tokenizer,
                             json& config,
                             const json& model,
                             const std::string& source) {
  if (!tokenizer.is_object() || !tokenizer.value("model", json()).is_object()) {
    return kAsItIs;
  }
  const std::string name = class_taken(tokenizer, config, model);
  if (name.empty() || name == "PreTrainedTokenizer" || name == "TokenizersBackend") {
    return kAsItIs;
  }
  const auto* const known = std::ranges::find(kKnown, name, &KnownClass::name);
  if (known == kKnown.end()) {
    throw FileError(fmt::format(
        "{}: its class {} may make other tokens than the file describes; expected BertTokenizer, "
        "GPT2Tokenizer, GPTNeoXTokenizer, LlamaTokenizer, Qwen2Tokenizer, XLMRobertaTokenizer or "
        "PreTrainedTokenizerFast; load it with transformers, save its backend_tokenizer here, and "
        "set tokenizer_class in tokenizer_config.json to PreTrainedTokenizerFast",
        source, quote(name)));
  }
  json& own = tokenizer["model"];
  if (own.value("type", known->type) != known->type) {
    throw FileError(fmt::format(
        "{}: transformers reads it as a {}; expected a model of type {}, found {}; correct "
        "tokenizer_class in tokenizer_config.json",
        source, name, known->type, quote(text_at(own, "type"))));
  }
  if (config.contains("added_tokens_decoder")) {
    tokenizer["added_tokens"] = json::array();  // the class uses those instead
  }
  json bare = {{"type", known->type}, {"vocab", std::move(own["vocab"])}};
  if (own.contains("merges")) {
    bare["merges"] = std::move(own["merges"]);
  }
  own = std::move(bare);
  known->rebuild(tokenizer, config, source);
  return name;
}

json of_vocabulary(const std::string& text,
                   const json& added,
                   json& config,
                   const std::string& source) {
  json tokenizer = {{"added_tokens", added},
                    {"model", {{"type", "WordPiece"}, {"vocab", words_of(text)}}}};
  rebuild_bert(tokenizer, config, source);
  return tokenizer;
}

json of_merges(const json& words, std::string_view merges, json& config) {
  json pairs = json::array();
  for (const std::string_view line : split(merges, '\n')) {
    if (!trim(line).empty() && !line.starts_with("#version")) {
      pairs.push_back(trim(line));
    }
  }
  json tokenizer = {{"added_tokens", json::array()},
                    {"model", {{"type", "BPE"}, {"vocab", words}, {"merges", std::move(pairs)}}}};
  rebuild_gpt2(tokenizer, config, "");
  return tokenizer;
}

}  // namespace halfback
