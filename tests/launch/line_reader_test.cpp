#include "halfback/launch/line_reader.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace halfback {
namespace {

class LineReaderTest : public ::testing::Test {
 protected:
  std::vector<std::string> lines_;
  LineReader reader_{[this](std::string_view line) { lines_.emplace_back(line); }};
};

using Lines = std::vector<std::string>;

TEST_F(LineReaderTest, GivesWholeLinesWhereverTheBytesAreCut) {
  const std::string text = "one\n\ntwo\nthree";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    lines_.clear();
    reader_.add(std::string_view(text).substr(0, cut));
    reader_.add(std::string_view(text).substr(cut));
    EXPECT_EQ(lines_, (Lines{"one", "", "two"})) << cut;
    EXPECT_EQ(reader_.unfinished(), "three");
    reader_.finish();
    EXPECT_EQ(lines_.back(), "three");
    EXPECT_EQ(reader_.unfinished(), "");
  }
  reader_.finish();
  EXPECT_EQ(lines_.size(), 4U) << "what is finished is not given again";
}

TEST_F(LineReaderTest, OfALineThatIsWrittenOverTheLastTextCounts) {
  reader_.add("\rstep 1");
  EXPECT_EQ(reader_.unfinished(), "step 1");
  reader_.add("\r");
  reader_.add("step 2\rstep 3");
  EXPECT_EQ(reader_.unfinished(), "step 3");
  reader_.add("\n");
  EXPECT_EQ(lines_, (Lines{"step 3"}));
}

TEST_F(LineReaderTest, ALineWithoutEndIsCut) {
  reader_.add(std::string(100'000, 'x'));
  EXPECT_EQ(lines_.size(), 1U);
}

}  // namespace
}  // namespace halfback
