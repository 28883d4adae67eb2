#include "halfback/base/toml.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

namespace halfback {
namespace {

class TomlTest : public ::testing::Test {
 protected:
  toml::table read(const std::string& text) const {
    write_file_atomically(path(), text);
    return read_toml(path(), "file");
  }
  std::string path() const { return (directory_ / "a.toml").string(); }

  TemporaryDirectory directory_;
};

TEST_F(TomlTest, AValueIsTheTextThatAnOptionWouldGet) {
  const toml::table table = read(
      "a = \"1 2\"\nb = -3\nc = 1e-3\nd = 0.5\ne = true\nf = [1]\ng = {h = 1}\ni = 2020-01-01\n");
  const auto text = [&](const char* key) { return option_text(*table.get(key)); };
  EXPECT_EQ(text("a"), "1 2");
  EXPECT_EQ(text("b"), "-3");
  EXPECT_EQ(text("c"), "0.001");
  EXPECT_EQ(text("d"), "0.5");
  EXPECT_EQ(text("e"), "true");
  for (const char* key : {"f", "g", "i"}) {
    EXPECT_EQ(text(key), std::nullopt) << key;
  }
}

TEST_F(TomlTest, SaysWhichLineIsWrong) {
  EXPECT_TRUE(
      contains(text_of_thrown<FileError>([&] { read("a = 1\n[b\n"); }), path() + ":2: no TOML: "));
  EXPECT_EQ(text_of_thrown<FileError>([] { read_toml("/nowhere.toml", "study file"); }),
            "/nowhere.toml: no such study file; correct the path");
}

}  // namespace
}  // namespace halfback
