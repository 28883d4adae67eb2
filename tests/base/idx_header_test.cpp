#include "halfback/base/idx_header.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace halfback {
namespace {

using namespace std::string_literals;

std::string refusal(const std::string& file) {
  const std::string text = text_of_thrown<FileError>([&] { parse_idx_header(file, "a.idx"); });
  EXPECT_TRUE(text.starts_with("a.idx: ")) << text;
  EXPECT_TRUE(contains(text, "expected an IDX file of unsigned bytes")) << text;
  return text;
}

TEST(IdxHeaderTest, ReadsSizes) {
  const IdxHeader labels = parse_idx_header("\0\0\x08\x01\0\0\0\x03"s + "abc", "a.idx");
  EXPECT_EQ(labels.shape, std::vector<std::uint32_t>{3});
  EXPECT_EQ(labels.data_begin, 8U);
  EXPECT_EQ(labels.num_bytes, 3U);
  const IdxHeader images = parse_idx_header(
      "\0\0\x08\x03\0\0\x01\0\0\0\0\x02\0\0\0\x03"s + std::string(1536, 'x'), "a.idx");
  EXPECT_EQ(images.shape, (std::vector<std::uint32_t>{256, 2, 3}));
  EXPECT_EQ(images.data_begin, 16U);
}

TEST(IdxHeaderTest, RefusesWhatIsNoHeader) {
  EXPECT_TRUE(contains(refusal(""), "0 bytes are not a header"));
  EXPECT_TRUE(contains(refusal("\0\0\x08"s), "3 bytes are not a header"));
  EXPECT_TRUE(contains(refusal("\x89PNG\r\n"), "begins with bytes 137 and 80"));
  EXPECT_TRUE(contains(refusal("\0\0\x0d\x01\0\0\0\0"s), "its type is 13, not 8"));
  EXPECT_TRUE(contains(refusal("\0\0\x08\0"s), "it has 0 dimensions, not 1 to 8"));
  EXPECT_TRUE(contains(refusal("\0\0\x08\xff"s), "it has 255 dimensions"));
  EXPECT_TRUE(contains(refusal("\0\0\x08\x02\0\0\0\x01\0"s), "after 9 bytes, inside its header"));
}

TEST(IdxHeaderTest, RefusesSizesThatDoNotFitTheFile) {
  EXPECT_TRUE(
      contains(refusal("\0\0\x08\x01\0\0\0\x03"s + "ab"), "2 bytes of data where its sizes say 3"));
  EXPECT_TRUE(contains(refusal("\0\0\x08\x01\0\0\0\x03"s + "abcd"), "4 bytes of data"));
  EXPECT_TRUE(contains(refusal("\0\0\x08\x03"s + std::string(12, '\xff')), "more than 2^64"));
  EXPECT_TRUE(contains(refusal("\0\0\x08\x02"s + std::string(8, '\xff')),
                       "sizes say 18446744065119617025"));
}

}  // namespace
}  // namespace halfback
