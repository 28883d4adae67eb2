#include "halfback/base/utf8.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace halfback {
namespace {

using namespace std::string_view_literals;

TEST(Utf8Test, CountsTheBytesOfTheFirstCharacter) {
  EXPECT_EQ(character_length("a"), 1U);
  EXPECT_EQ(character_length("\0x"sv), 1U);
  EXPECT_EQ(character_length("\x7F"), 1U);
  EXPECT_EQ(character_length("\u0080"), 2U);
  EXPECT_EQ(character_length("\u07FFx"), 2U);
  EXPECT_EQ(character_length("\u0800"), 3U);
  EXPECT_EQ(character_length("\uD7FF"), 3U);
  EXPECT_EQ(character_length("\uE000"), 3U);
  EXPECT_EQ(character_length("\uFFFFx"), 3U);
  EXPECT_EQ(character_length("\U00010000"), 4U);
  EXPECT_EQ(character_length("\U0010FFFFx"), 4U);
}

TEST(Utf8Test, KnowsWhatIsNoCharacter) {
  for (const std::string_view text :
       {""sv, "\x80"sv, "\xBF"sv, "\xC0\x80"sv, "\xC1\xBF"sv, "\xC2"sv, "\xC2x"sv, "\xE0\x9F\xBF"sv,
        "\xE2\x96"sv, "\xE2\x96x"sv, "\xED\xA0\x80"sv, "\xF0\x8F\xBF\xBF"sv, "\xF0\x9F\x98"sv,
        "\xF4\x90\x80\x80"sv, "\xF5\x80\x80\x80"sv, "\xFF"sv}) {
    EXPECT_EQ(character_length(text), 0U) << testing::PrintToString(text);
  }
}

}  // namespace
}  // namespace halfback
