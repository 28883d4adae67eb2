#include "halfback/study/study_page.h"

#include "tests/support/schedules.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>

namespace halfback {
namespace {

using Json = nlohmann::json;
using testing::has_text;

Json row(const std::string& label) {
  return {{"run", 3},
          {"place", Json::array({Json::array({"scheme", label})})},
          {"status", "complete"},
          {"steps", 20},
          {"loss", 0.1},
          {"curve", {{"step", {10, 20}}, {"loss", {0.2, std::nan("")}}}}};
}

// What the page's script element with the data holds.
std::string text_of_data(const std::string& page) {
  const std::string begin = R"(<script id="data" type="application/json">)";
  const std::size_t from = page.find(begin) + begin.size();
  return page.substr(from, page.find("</script>", from) - from);
}

TEST(StudyPageTest, TheDataIsInThePage) {
  const Json data = Json::parse(text_of_data(
      study_page("a study", {row("greedy"), row("none")}, Json::array({{{"c1", 2.5}}}))));
  EXPECT_EQ(data["title"], "a study");
  EXPECT_EQ(data["fits"][0]["c1"], 2.5);
  ASSERT_EQ(data["rows"].size(), 2U);
  EXPECT_EQ(data["rows"][1]["place"], Json::parse(R"([["scheme", "none"]])"));
  EXPECT_EQ(data["rows"][0]["loss"], 0.1);
  EXPECT_TRUE(data["rows"][0]["curve"]["loss"][1].is_null());
}

TEST(StudyPageTest, NoTextBreaksOutOfTheData) {
  for (const std::string label : {"</script><b>", "<!--<script>", "</SCRIPT >", "{{data}}"}) {
    const std::string page = study_page(label, {row(label)}, Json::array());
    const std::string text = text_of_data(page);
    EXPECT_FALSE(has_text(text, "<")) << label;
    EXPECT_EQ(Json::parse(text)["rows"][0]["place"][0][1], label);
    EXPECT_EQ(Json::parse(text)["title"], label);
  }
}

TEST(StudyPageTest, BytesThatAreNotUtf8AreReplaced) {
  EXPECT_TRUE(has_text(study_page("a\xff", {}, Json::array()), "a\xef\xbf\xbd"));
}

TEST(StudyPageTest, ThePageIsWholeAndLoadsNothing) {
  const std::string page = study_page("a study", {}, Json::array());
  EXPECT_TRUE(has_text(page, "<!doctype html>"));
  EXPECT_TRUE(has_text(page, "</html>"));
  EXPECT_FALSE(has_text(page, "{{"));
  EXPECT_FALSE(has_text(page, "http"));
}

}  // namespace
}  // namespace halfback
