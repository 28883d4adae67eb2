#include "halfback/base/text.h"

#include "halfback/base/error.h"

#include <gtest/gtest.h>

namespace halfback {
namespace {

TEST(TextTest, SplitsIntoAllParts) {
  EXPECT_EQ(split("a,,b", ',').size(), 3U);
  EXPECT_EQ(split("", ',').size(), 1U);
  EXPECT_EQ(split(",", ',').size(), 2U);
}

TEST(TextTest, TrimsBothEnds) {
  EXPECT_EQ(trim(" \t a b\r\n"), "a b");
  EXPECT_EQ(trim("  "), "");
}

TEST(TextTest, ParsesWholeNumbersOnly) {
  EXPECT_EQ(parse_integer("-12"), -12);
  EXPECT_FALSE(parse_integer("12x"));
  EXPECT_FALSE(parse_integer(""));
  EXPECT_FALSE(parse_integer("99999999999999999999"));
  EXPECT_EQ(parse_number("1.5"), 1.5);
  EXPECT_FALSE(parse_number("1.5.2"));
}

TEST(TextTest, SuggestsCloseNamesOnly) {
  EXPECT_EQ(suggestion("gpip", {"naive", "gpipe"}), " (did you mean gpipe?)");
  EXPECT_EQ(suggestion("something else", {"naive", "gpipe"}), "");
  EXPECT_EQ(suggestion("a", {}), "");
}

TEST(TextTest, FormatsBytesWithThreeDigits) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1536 * 1024), "1.50 MiB");
  EXPECT_EQ(format_bytes(std::int64_t{100} << 30), "100 GiB");
}

TEST(ErrorTest, CheckNamesExpressionAndValues) {
  try {
    HALFBACK_CHECK(1 + 1 == 3, "sum 2");
    FAIL() << "no exception";
  } catch (const std::logic_error& error) {
    EXPECT_NE(std::string(error.what()).find("1 + 1 == 3 does not hold: sum 2"), std::string::npos);
  }
}

}  // namespace
}  // namespace halfback
