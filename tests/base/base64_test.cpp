#include "halfback/base/base64.h"

#include <gtest/gtest.h>

namespace halfback {
namespace {

// RFC 4648, section 10.
TEST(Base64Test, HasTheTextsOfTheStandard) {
  EXPECT_EQ(to_base64(""), "");
  EXPECT_EQ(to_base64("f"), "Zg==");
  EXPECT_EQ(to_base64("fo"), "Zm8=");
  EXPECT_EQ(to_base64("foo"), "Zm9v");
  EXPECT_EQ(to_base64("foobar"), "Zm9vYmFy");
  EXPECT_EQ(to_base64(std::string("\xfb\xff\0", 3)), "+/8A");
}

}  // namespace
}  // namespace halfback
