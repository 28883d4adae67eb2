#include "halfback/base/json.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace halfback {
namespace {

std::string error_of(const std::string& text) {
  return text_of_thrown<FileError>([&] { parse_json(text, "c.json"); });
}

TEST(JsonTest, ReadsAValue) {
  const nlohmann::json value =
      parse_json(R"({"a":{"x":1,"y":[{"x":2},{"x":3}]},"b":{"x":4}})", "c.json");
  EXPECT_EQ(value["a"]["y"][1]["x"], 3);
  EXPECT_EQ(value["b"]["x"], 4);
}

TEST(JsonTest, RefusesWhatIsNotJson) {
  EXPECT_TRUE(contains(error_of("{\"a\":}"), "c.json: not JSON: parse error at line 1, column 6"));
  EXPECT_TRUE(contains(error_of(""), "not JSON"));
  EXPECT_TRUE(contains(error_of("1e999"), "not JSON"));
  EXPECT_TRUE(contains(error_of("{} {}"), "not JSON"));
  EXPECT_TRUE(contains(error_of(std::string("{}\0x", 4)),
                       "NUL byte at 2; JSON is text; fetch or write the file again"));
  EXPECT_LT(error_of("\"" + std::string(100'000, 'x')).size(), 300U);
}

TEST(JsonTest, RefusesDeepNesting) {
  const std::string limit(kMaxJsonDepth, '[');
  EXPECT_NO_THROW(parse_json(limit + std::string(kMaxJsonDepth, ']'), "c.json"));
  EXPECT_TRUE(contains(error_of(limit + "["), "nests deeper than 32 levels"));
  EXPECT_TRUE(contains(error_of(std::string(1'000'000, '[')), "nests deeper"));
}

TEST(JsonTest, RefusesRepeatedKeys) {
  EXPECT_TRUE(contains(error_of(R"({"a":1,"b":{"a":2},"a":3})"),
                       "JSON key \"a\" comes twice in one object; each may come once"));
  EXPECT_TRUE(contains(error_of(R"([{"x":{"y":1,"y":2}}])"), "key \"y\" comes twice in one"));
}

TEST(JsonTest, QuotesForMessages) {
  EXPECT_EQ(quote("plain"), "\"plain\"");
  EXPECT_EQ(quote("\x1b[2J\n"), "\"\\u001b[2J\\n\"");
  EXPECT_EQ(quote("\xFF"), "\"\xEF\xBF\xBD\"");
  EXPECT_EQ(quote(std::string(200, 'x')), "\"" + std::string(80, 'x') + "...\"");
}

}  // namespace
}  // namespace halfback
