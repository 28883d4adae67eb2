#include "halfback/data/sentence_piece.h"

#include "halfback/base/error.h"
#include "halfback/base/keyed_random.h"
#include "tests/support/errors.h"
#include "tests/support/shell.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_training.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

namespace halfback::testing {
namespace {

const Tokenizer& tiny() {
  static const TokenizerPointer tokenizer = train_sentence_piece(tiny_text(), 290);
  return *tokenizer;
}

std::string decoded(const Tokenizer& tokenizer, const std::vector<std::int32_t>& tokens) {
  std::string text;
  for (const std::int32_t token : tokens) {
    text += tokenizer.text_of(token);
  }
  return text;
}

// Compared with ==, since a failure must not print megabytes.
bool comes_back(const Tokenizer& tokenizer, const std::string& text) {
  return decoded(tokenizer, tokenizer.encode(text)) == text;
}

std::string random_bytes(std::size_t count) {
  std::string bytes;
  for (std::uint64_t i = 0; i < count; ++i) {
    bytes += static_cast<char>(static_cast<unsigned char>(mixed_bits({3, i}) % 256));
  }
  return bytes;
}

std::string random_characters(std::size_t count) {
  constexpr std::array<const char*, 16> kCharacters = {
      "a",      "th", " ",      "  ",     "\n",     "\r\n",       "\t",     "\u00E9",
      "\u0301", "e",  "\u4E2D", "\u2581", "\u3000", "\U0001F600", "\u00A0", "<unk>"};
  std::string text;
  for (std::uint64_t i = 0; i < count; ++i) {
    text += kCharacters[mixed_bits({4, i}) % kCharacters.size()];
  }
  return text;
}

TEST(SentencePieceTest, AnyBytesComeBack) {
  EXPECT_TRUE(tiny().encode("").empty());
  EXPECT_TRUE(comes_back(tiny(), tiny_text()));
  EXPECT_TRUE(comes_back(tiny(), std::string(3, '\0') + "the light\n\n  \n"));
  EXPECT_TRUE(comes_back(tiny(), "<s>the</s> <0x41> \u2581 \xE2\x96"));
  EXPECT_TRUE(comes_back(tiny(), random_bytes(200'000)));
  EXPECT_TRUE(comes_back(tiny(), random_characters(100'000)));
}

TEST(SentencePieceTest, TheBibleComesBack) {
  const std::string bible = run_command("bible -f gen1:1-rev22:21 2>/dev/null").output;
  ASSERT_GE(bible.size(), 4'000'000U) << "Debian's bible-kjv is missing; ./hb test installs it";
  const TokenizerPointer tokenizer = train_sentence_piece(bible, 2000);
  const std::vector<std::int32_t> tokens = tokenizer->encode(bible);
  EXPECT_TRUE(decoded(*tokenizer, tokens) == bible);
  EXPECT_LT(3 * tokens.size(), bible.size());
}

TEST(SentencePieceTest, SpecialIdsAndBytesStandWhereLlamaHasThem) {
  EXPECT_EQ(tiny().vocabulary(), 290);
  EXPECT_EQ(tiny().mask_token(), 290);
  EXPECT_EQ(tiny().text_of(1), "");
  EXPECT_EQ(tiny().text_of(2), "");
  for (int byte = 0; byte < 256; ++byte) {
    EXPECT_EQ(tiny().text_of(3 + byte), std::string(1, static_cast<char>(byte)));
  }
  EXPECT_EQ(tiny().encode("\xFF"), (std::vector<std::int32_t>{3 + 255}));
  EXPECT_EQ(tiny().encode("<s>").size(), 3U) << "text is no mark";
}

TEST(SentencePieceTest, LearnsWhatComesTogether) {
  EXPECT_EQ(tiny().encode("and light and the light").size(), 16U);
  EXPECT_EQ(train_sentence_piece(tiny_text(), 310)->encode("and light and the light").size(), 5U);
}

TEST(SentencePieceTest, EqualTextsGiveEqualModels) {
  EXPECT_TRUE(train_sentence_piece(tiny_text(), 290)->identity() == tiny().identity());
  EXPECT_FALSE(train_sentence_piece(tiny_text(2000), 290)->identity() == tiny().identity());
}

TEST(SentencePieceTest, WhatIsNoTextIsLeftOutOfLearning) {
  const std::string noise = "\xFF\xC3\u2581" + std::string(1, '\0');
  EXPECT_TRUE(train_sentence_piece(noise + tiny_text() + noise, 290)->identity() ==
              tiny().identity());
}

// A block ends with a line where it has one; the tokens are those of the whole.
TEST(SentencePieceTest, BlocksDoNotShowInTheTokens) {
  const std::string text = tiny_text(200'000);
  std::int64_t calls = 0;
  std::int64_t last = 0;
  const auto tokens = tiny().encode(text, [&](std::int64_t done) {
    EXPECT_GT(done, last);
    last = done;
    ++calls;
  });
  EXPECT_EQ(last, 200'000);
  EXPECT_EQ(calls, 4);
  std::vector<std::int32_t> by_line;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size() - 1) + 1;
    const auto line = tiny().encode(text.substr(begin, end - begin));
    by_line.insert(by_line.end(), line.begin(), line.end());
    begin = end;
  }
  EXPECT_TRUE(tokens == by_line);
}

TEST(SentencePieceTest, RefusesVocabulariesThatTheTextDoesNotGive) {
  const auto refusal = [](const std::string& text, std::int64_t vocabulary) {
    return text_of_thrown<ConfigError>([&] { train_sentence_piece(text, vocabulary); });
  };
  EXPECT_TRUE(contains(refusal(tiny_text(), 259),
                       "tokenizer: a vocabulary of 259; expected more than 259"));
  EXPECT_TRUE(
      contains(refusal(tiny_text(), 262), "tokenizer: the text gives no vocabulary of 262"));
  EXPECT_TRUE(contains(refusal(tiny_text(), 5000), "5000"));
  EXPECT_TRUE(contains(refusal("", 300), "tokenizer: the text gives no vocabulary of 300"));
}

TEST(SentencePieceTest, RefusesFilesThatAreNoModels) {
  const TemporaryDirectory directory;
  const auto refusal = [&](std::string_view bytes) {
    spit(directory / "a.model", bytes);
    return text_of_thrown<FileError>([&] { load_sentence_piece(directory / "a.model"); });
  };
  const std::string expected = "expected a SentencePiece model";
  EXPECT_TRUE(contains(refusal(""), "a.model: is empty; " + expected));
  EXPECT_TRUE(contains(refusal("no model at all"), expected));
  EXPECT_TRUE(contains(refusal(random_bytes(5000)), expected));
  const std::string model = tiny().identity();
  EXPECT_TRUE(contains(refusal(model.substr(0, model.size() / 2)), expected));
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { load_sentence_piece(directory / "b"); }),
                       "b: cannot open: No such file"));
}

// Whatever is in a file, it is refused or it is a tokenizer.
TEST(SentencePieceTest, DamagedModelsDoNoHarm) {
  int num_read = 0;
  for (std::uint64_t i = 0; i < 400; ++i) {
    std::string model(tiny().identity());
    for (std::uint64_t k = 0; k <= i % 3; ++k) {
      model[mixed_bits({5, i, k}) % model.size()] ^=
          static_cast<char>(1 + mixed_bits({6, i, k}) % 255);
    }
    try {
      const TokenizerPointer tokenizer =
          parse_sentence_piece({{kSentencePieceFile, std::move(model)}}, "damaged");
      decoded(*tokenizer, tokenizer->encode("and the light\n\xFF"));
      ++num_read;
    } catch (const FileError&) {
      continue;
    }
  }
  EXPECT_GT(num_read, 0);
  EXPECT_LT(num_read, 400);
}

TEST(ByteTokenizerTest, TokensAreBytes) {
  const TokenizerPointer bytes = byte_tokenizer();
  EXPECT_EQ(bytes->vocabulary(), 256);
  EXPECT_EQ(bytes->mask_token(), 256);
  EXPECT_EQ(bytes->encode("A\xFF"), (std::vector<std::int32_t>{65, 255}));
  EXPECT_EQ(bytes->text_of(65), "A");
  EXPECT_EQ(bytes->identity(), "");
  EXPECT_TRUE(bytes->files().empty());
}

}  // namespace
}  // namespace halfback::testing
