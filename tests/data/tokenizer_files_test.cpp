// Tokenizers out of the files of published models: ids of small vocabularies, and what is refused.
// tests/python/tokenizers_agree.py compares large ones with transformers.
#include "halfback/data/tokens/tokenizer_files.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace halfback::testing {
namespace {

using nlohmann::json;
using Ids = std::vector<std::int32_t>;

json byte_level() {
  return {{"added_tokens", {{{"id", 6}, {"content", "<|end|>"}, {"special", true}}}},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model",
           {{"type", "BPE"},
            {"vocab", {{"a", 0}, {"b", 1}, {"\u0120", 2}, {"ab", 3}, {"\u0120a", 4}, {"aba", 5}}},
            {"merges", {"a b", "\u0120 a", "ab a"}}}}};
}

class TokenizerFilesTest : public ::testing::Test {
 protected:
  TokenizerPointer of(const json& tokenizer) const {
    spit(directory_ / "tokenizer.json", tokenizer.dump());
    return find_tokenizer(directory_.path());
  }
  std::string refusal(const json& tokenizer) const {
    return text_of_thrown<FileError>([&] { of(tokenizer); });
  }
  TokenizerPointer of(const json& tokenizer, const json& config) const {
    spit(directory_ / "tokenizer_config.json", config.dump());
    return of(tokenizer);
  }
  static std::string text_of(const Tokenizer& tokenizer, const Ids& ids) {
    const auto decoder = tokenizer.decoder();
    std::string text;
    for (const std::int32_t id : ids) {
      text += decoder->add(id);
    }
    return text + decoder->finish();
  }

  TemporaryDirectory directory_;
};

TEST_F(TokenizerFilesTest, MergesInTheOrderOfTheirRanks) {
  const TokenizerPointer tokenizer = of(byte_level());
  EXPECT_EQ(tokenizer->encode("aba ab a"), (Ids{5, 2, 3, 4}));
  EXPECT_EQ(tokenizer->encode("ab<|end|>a"), (Ids{3, 6, 0}));
  EXPECT_EQ(text_of(*tokenizer, {5, 6, 4, 1}), "aba ab") << "signs are no text";
  EXPECT_TRUE(tokenizer->is_special(6));
  EXPECT_EQ(tokenizer->vocabulary(), 7);
  EXPECT_EQ(tokenizer->files().count("tokenizer.json"), 1U);
}

TEST_F(TokenizerFilesTest, PairsOfMergesMayBeLists) {
  json lists = byte_level();
  lists["model"]["merges"] = json::array(
      {json::array({"a", "b"}), json::array({"\u0120", "a"}), json::array({"ab", "a"})});
  EXPECT_EQ(of(lists)->encode("aba ab a"), (Ids{5, 2, 3, 4}));
}

TEST_F(TokenizerFilesTest, ATemplateSaysWhatStandsAroundAText) {
  json around = byte_level();
  around["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single",
       {{{"SpecialToken", {{"id", "<|end|>"}, {"type_id", 0}}}},
        {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
      {"pair", json::array()},
      {"special_tokens",
       {{"<|end|>", {{"id", "<|end|>"}, {"ids", {6}}, {"tokens", {"<|end|>"}}}}}}};
  EXPECT_EQ(of(around)->prefix(), Ids{6});
  EXPECT_EQ(of(around)->suffix(), Ids{});
  EXPECT_EQ(of(around)->encode("a"), Ids{0});
}

TEST_F(TokenizerFilesTest, AVocabularyOfLinesIsBerts) {
  spit(directory_ / "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nun\n##want\n##ed\n,\nrun\n");
  spit(directory_ / "tokenizer_config.json", R"({"tokenizer_class": "BertTokenizer"})");
  const TokenizerPointer tokenizer = find_tokenizer(directory_.path());
  EXPECT_EQ(tokenizer->encode("UNwanted,run never"), (Ids{5, 6, 7, 8, 9, 1}));
  EXPECT_EQ(tokenizer->mask_token(), 4);
  EXPECT_EQ(tokenizer->prefix(), Ids{2});
  EXPECT_EQ(tokenizer->suffix(), Ids{3});
  EXPECT_EQ(text_of(*tokenizer, {2, 5, 6, 7, 8, 9, 3}), "unwanted, run");
}

TEST_F(TokenizerFilesTest, KeysOfAnEndDoNotReplaceWhatTheJsonPutsAround) {
  json around = byte_level();
  around["post_processor"] = {
      {"type", "BertProcessing"}, {"cls", {"<|end|>", 6}}, {"sep", {"a", 0}}};
  const json config = {{"add_bos_token", false}, {"add_eos_token", true}, {"eos_token", "<|end|>"}};
  EXPECT_EQ(of(around, config)->prefix(), Ids{6});
  EXPECT_EQ(of(around, config)->suffix(), Ids{0});
  EXPECT_EQ(of(byte_level(), config)->suffix(), Ids{});
}

json metaspace() {
  json tokenizer = byte_level();
  tokenizer["added_tokens"] = json::array();
  tokenizer["normalizer"] = {{"type", "Lowercase"}};
  tokenizer["pre_tokenizer"] = nullptr;
  tokenizer["decoder"] = nullptr;
  tokenizer["model"] = {
      {"type", "BPE"},
      {"vocab", {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}, {"a", 3}, {"\u2581", 4}, {"\u2581a", 5}}},
      {"merges", {"\u2581 a"}}};
  return tokenizer;
}

TEST_F(TokenizerFilesTest, AClassBuildsWhatStandsAroundTheVocabulary) {
  json config = {{"tokenizer_class", "LlamaTokenizerFast"}};
  EXPECT_EQ(of(metaspace(), config)->encode("a a<s>a"), (Ids{5, 5, 1, 3}));
  config["legacy"] = true;
  EXPECT_EQ(of(metaspace(), config)->encode("a a<s>a"), (Ids{5, 5, 1, 5}));
  EXPECT_EQ(text_of(*of(metaspace(), config), {5, 5}), "a a");
  config["add_prefix_space"] = false;
  EXPECT_EQ(of(metaspace(), config)->encode("a a<s>a"), (Ids{3, 5, 1, 3}));
  config["tokenizer_class"] = "GPT2Tokenizer";
  config["add_prefix_space"] = true;
  EXPECT_EQ(of(byte_level(), config)->encode("ab"), (Ids{2, 3}));
  spit(directory_ / "config.json", R"({"model_type": "mistral"})");
  EXPECT_EQ(of(byte_level(), config)->encode("ab"), (Ids{3})) << "no class is taken";
  spit(directory_ / "config.json", R"({"model_type": "qwen2"})");
  EXPECT_EQ(of(byte_level(), config)->encode("ab"), (Ids{2, 3}));
  config["tokenizer_class"] = "BertTokenizer";
  std::filesystem::remove(directory_ / "config.json");
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { of(byte_level(), config); }),
                       "tokenizer.json: transformers reads it as a BertTokenizer; expected a "
                       "model of type WordPiece, found \"BPE\"; correct tokenizer_class"));
}

TEST_F(TokenizerFilesTest, AClassOfUnknownPartsIsRefused) {
  const json config = {{"tokenizer_class", "T5TokenizerFast"}};
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { of(metaspace(), config); }),
                       "tokenizer.json: its class \"T5Tokenizer\" may make other tokens than the "
                       "file describes; expected BertTokenizer, "));
  EXPECT_EQ(of(byte_level(), {{"tokenizer_class", nullptr}})->encode("ab"), Ids{3});
}

TEST_F(TokenizerFilesTest, GptNeoXComposesCharacters) {
  json composed = byte_level();
  composed["model"]["vocab"]["\u00c3"] = 6;  // of the bytes of \u00e9
  composed["model"]["vocab"]["\u00a9"] = 7;
  composed["added_tokens"] = json::array();
  const json config = {{"tokenizer_class", "GPTNeoXTokenizer"}};
  EXPECT_EQ(of(composed, config)->encode("e\u0301"), (Ids{6, 7}));
}

TEST_F(TokenizerFilesTest, XlmRobertaKeepsOnlyTheTableOfItsNormalizer) {
  json pieces = byte_level();
  pieces["added_tokens"] = json::array();
  pieces["normalizer"] = {{"type", "Lowercase"}};
  pieces["model"] = {{"type", "Unigram"}, {"unk_id", 3}, {"vocab", json::array()}};
  for (const char* const piece : {"<s>", "<pad>", "</s>", "<unk>", "<mask>", "\u2581A", "\u2581"}) {
    pieces["model"]["vocab"].push_back(json::array({piece, -1.0}));
  }
  json config = {{"tokenizer_class", "XLMRobertaTokenizer"}};
  const TokenizerPointer tokenizer = of(pieces, config);
  EXPECT_EQ(tokenizer->encode(" A A "), (Ids{5, 5}));
  EXPECT_EQ(tokenizer->prefix(), Ids{0});
  EXPECT_EQ(tokenizer->suffix(), Ids{2});
  EXPECT_EQ(tokenizer->mask_token(), 4);
  config["add_prefix_space"] = false;
  EXPECT_EQ(of(pieces, config)->encode("A"), Ids{3});
}

TEST_F(TokenizerFilesTest, ANamedTokenizerMeansTheSameBesideAnyModel) {
  spit(directory_ / "my.json", byte_level().dump());
  const TokenizerPointer mine = load_tokenizer_of(directory_ / "my.json");
  for (const auto& [name, text] : mine->files()) {
    spit(directory_ / name, text);
  }
  spit(directory_ / "config.json", R"({"model_type": "bert"})");
  EXPECT_TRUE(find_tokenizer(directory_.path())->identity() == mine->identity());
  std::filesystem::remove(directory_ / "tokenizer_config.json");
  spit(directory_ / "config.json", R"({"model_type": "gpt2"})");
  EXPECT_EQ(load_tokenizer_of(directory_.path())->files().at("tokenizer_config.json"),
            "{\n  \"tokenizer_class\": \"GPT2Tokenizer\"\n}\n");
  EXPECT_FALSE(find_tokenizer(directory_.path())->files().contains("tokenizer_config.json"))
      << "what others wrote stays as it is";
}

TEST_F(TokenizerFilesTest, OtherTokensOfAConfigAreAnotherIdentity) {
  const std::string plain = of(byte_level(), json::object())->identity();
  EXPECT_TRUE(of(byte_level(), {{"chat_template", "x"}})->identity() == plain);
  EXPECT_FALSE(of(byte_level(), {{"mask_token", "b"}})->identity() == plain);
  EXPECT_FALSE(of(byte_level(), {{"tokenizer_class", "GPT2Tokenizer"}, {"add_prefix_space", true}})
                   ->identity() == plain);
}

TEST_F(TokenizerFilesTest, ConfiguredTokensReplaceThoseOfTheJson) {
  json lower = byte_level();
  lower["normalizer"] = {{"type", "Lowercase"}};
  lower["added_tokens"][0]["content"] = "AB";
  EXPECT_EQ(of(lower)->encode("ab"), Ids{3});
  const json token = {{"content", "AB"}, {"normalized", true}, {"special", false}};
  const TokenizerPointer tokenizer = of(lower, {{"added_tokens_decoder", {{"6", token}}}});
  EXPECT_EQ(tokenizer->encode("ab"), Ids{6});
  EXPECT_FALSE(tokenizer->encode("aB") == Ids{3});
}

TEST_F(TokenizerFilesTest, TokensAreAddedToAVocabularyOfLines) {
  spit(directory_ / "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nun \n##ed\n");
  spit(directory_ / "added_tokens.json", R"({"b": 8, "un ed": 7})");
  EXPECT_EQ(find_tokenizer(directory_.path())->encode("uned un ed b"), (Ids{5, 6, 7, 8}));
  spit(directory_ / "tokenizer_config.json", R"({"cls_token": "[FOO]"})");
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { find_tokenizer(directory_.path()); }),
                       "vocab.txt: cls_token \"[FOO]\" is not in it; expected a token of it; "));
}

TEST_F(TokenizerFilesTest, NoFileIsNoTokenizerAndOneOfAnotherKindIsRefused) {
  EXPECT_EQ(find_tokenizer(directory_.path()), nullptr);
  spit(directory_ / "spiece.model", "");
  EXPECT_TRUE(
      contains(text_of_thrown<FileError>([&] { find_tokenizer(directory_.path()); }),
               "spiece.model: is a tokenizer of another kind; expected a tokenizer.json, a "));
}

TEST_F(TokenizerFilesTest, NamesWhatIsNotSupported) {
  struct Case {
    json change;  // a patch
    const char* text;
  };
  const auto split_by = [](const json& pattern) {
    return json{{"pre_tokenizer",
                 {{"type", "Split"},
                  {"add_prefix_space", nullptr},
                  {"pattern", pattern},
                  {"behavior", "Isolated"},
                  {"invert", false}}}};
  };
  const std::vector<Case> cases = {
      {{{"model", {{"type", "WordLevel"}}}},
       "tokenizer.json: model: type \"WordLevel\" is not supported; expected BPE, Unigram or "
       "WordPiece; use a model with another tokenizer"},
      {{{"model", {{"dropout", 0.1}}}}, "model: dropout \"0.1\" is not supported"},
      {{{"model", {{"fancy", true}}}}, "model: \"fancy\" \"true\" is not supported"},
      {{{"normalizer", {{"type", "Nmt"}}}}, "normalizer: type \"Nmt\" is not supported"},
      {{{"pre_tokenizer", {{"type", "UnicodeScripts"}}}},
       "pre_tokenizer: type \"UnicodeScripts\" is not supported"},
      {split_by({{"Regex", "(a"}}),
       "tokenizer.json: pre_tokenizer: PCRE2 cannot compile the pattern \"(a\""},
      {split_by({{"Regex", "(?<n>a)"}}), "in the pattern \"(?<n>a)\" is not supported; expected "},
      {split_by({{"Regex", "[a&&b]"}}), "\"&&b]\" in the pattern \"[a&&b]\" is not supported"},
      {split_by({{"Regex", "a(*FAIL)"}}), "\"(*FAIL)\" in the pattern"},
      {split_by({{"Regex", "[\\s\\S]"}}), "\"\\\\S]\" in the pattern"},
      {split_by({{"Regex", "\\p\\S}"}}), "in the pattern \"\\\\p\\\\S}\""},
      {split_by({{"Regex", "[a"}}), "PCRE2 cannot compile the pattern \"[a\""},
      {split_by({{"Glob", "a*"}}),
       "the pattern \"{\\\"Glob\\\":\\\"a*\\\"}\" is not supported; expected a String"},
      {{{"normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "?"}}}},
       "normalizer: precompiled_charsmap is not base64; the file is damaged; fetch it again"},
      {{{"normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "/////w=="}}}},
       "precompiled_charsmap says that its trie has 4294967295 bytes of 4; the file is damaged"},
      {{{"post_processor", {{"type", "TemplateProcessing"}, {"single", json::array()}}}},
       "post_processor: a single with 0 Sequences is not supported; expected one"},
      {{{"post_processor", {{"type", "TemplateProcessing"}, {"single", "<s> $A"}}}},
       "post_processor: \"\\\"<s> $A\\\"\" in single is not supported; expected a Sequence or a "},
      {{{"post_processor", {{"type", "Other"}}}}, "post_processor: type \"Other\""},
      {{{"decoder", {{"type", "CTC"}}}}, "decoder: type \"CTC\" is not supported"},
  };
  for (const Case& one : cases) {
    json tokenizer = byte_level();
    tokenizer.merge_patch(one.change);
    const std::string text = refusal(tokenizer);
    EXPECT_TRUE(contains(text, one.text)) << one.change << text;
  }
  spit(directory_ / "tokenizer.json", "{");
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { find_tokenizer(directory_.path()); }),
                       "tokenizer.json: not JSON: "));
  json other_id = byte_level();
  other_id["added_tokens"][0]["id"] = 9;
  EXPECT_TRUE(contains(refusal(other_id),
                       "<|end|>\" has the id \"9\"; expected 6, where the vocab has it or ends"));
  json without_unknown = byte_level();
  without_unknown["model"]["unk_token"] = "<unk>";
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { of(without_unknown)->encode("z"); }),
                       " is not a token, and the vocab lacks the unknown one"));
  json endless = byte_level();
  endless.merge_patch(split_by({{"Regex", "(?:a|a)+c"}}));
  EXPECT_TRUE(
      contains(text_of_thrown<FileError>([&] { of(endless)->encode(std::string(60, 'a') + "dc"); }),
               "tokenizer: a pattern gives up at "));
  json unigram = byte_level();
  unigram["added_tokens"] = json::array();
  unigram["model"] = {
      {"type", "Unigram"}, {"unk_id", nullptr}, {"vocab", json::array({json::array({"a", -1.0})})}};
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { of(unigram)->encode("z"); }),
                       " is not a token, and the model has no unknown one"));
  std::filesystem::remove(directory_ / "tokenizer.json");
  spit(directory_ / "vocab.txt", "[PAD]\n[UNK]\n");
  spit(directory_ / "tokenizer_config.json", R"({"tokenizer_class": 3})");
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { find_tokenizer(directory_.path()); }),
                       "tokenizer_config.json: a value of another type: "));
  spit(directory_ / "tokenizer_config.json", "[]");
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { find_tokenizer(directory_.path()); }),
                       "tokenizer_config.json: not a JSON object; expected one; repair the file"));
}

}  // namespace
}  // namespace halfback::testing
