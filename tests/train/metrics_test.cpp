#include "halfback/train/metrics.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/small_disk.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <limits>

namespace halfback {
namespace {

class MetricsTest : public testing::Test {
 protected:
  TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "metrics.jsonl";
};

TEST_F(MetricsTest, EachLineIsThereAtOnce) {
  MetricsLog log(path_);
  log.append({{"step", 1}, {"loss", 2.5}});
  EXPECT_EQ(slurp(path_), "{\"loss\":2.5,\"step\":1}\n");
  log.append({{"step", 2}, {"loss", std::numeric_limits<double>::quiet_NaN()}});
  EXPECT_EQ(slurp(path_), "{\"loss\":2.5,\"step\":1}\n{\"loss\":null,\"step\":2}\n");
}

TEST_F(MetricsTest, ANewRunStartsAnew) {
  spit(path_, "old\n");
  const MetricsLog log(path_);
  EXPECT_EQ(slurp(path_), "");
}

TEST_F(MetricsTest, AResumedRunDropsWhatComesAgain) {
  spit(path_, "{\"step\":1}\n{\"note\":\"x\"}\n{\"step\":2}\n{\"step\":3}\n{\"step\":4");
  {
    MetricsLog log(path_, 2);
    EXPECT_EQ(slurp(path_), "{\"step\":1}\n{\"note\":\"x\"}\n{\"step\":2}\n");
    log.append({{"step", 3}});
  }
  EXPECT_EQ(slurp(path_), "{\"step\":1}\n{\"note\":\"x\"}\n{\"step\":2}\n{\"step\":3}\n");
}

TEST_F(MetricsTest, AResumedRunWithoutAFileStartsOne) {
  MetricsLog log(path_, 7);
  log.append({{"step", 8}});
  EXPECT_EQ(slurp(path_), "{\"step\":8}\n");
}

TEST_F(MetricsTest, NamesTheLineThatIsDamaged) {
  spit(path_, "{\"step\":1}\n{\"step\":\n{\"step\":3}\n");
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { MetricsLog log(path_, 3); }),
                       "metrics.jsonl:2: not JSON"));
  spit(path_, "{\"step\":1}\n7\n");
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { MetricsLog log(path_, 3); }),
                       "metrics.jsonl:2: \"7\"; expected a JSON object"));
  EXPECT_EQ(slurp(path_), "{\"step\":1}\n7\n");
}

TEST_F(MetricsTest, NeedsAStep) {
  MetricsLog log(path_);
  EXPECT_THROW(log.append({{"loss", 1.0}}), std::logic_error);
}

TEST_F(MetricsTest, SaysThatTheDiskIsFull) {
  const SmallDisk disk;
  MetricsLog log(disk.path() / "metrics.jsonl");
  const std::string text = text_of_thrown<FileError>([&] {
    for (int step = 0; step < 100; ++step) {
      log.append({{"step", step}, {"text", std::string(2000, 'x')}});
    }
  });
  EXPECT_TRUE(contains(text, "metrics.jsonl: cannot write: No space left on device")) << text;
}

}  // namespace
}  // namespace halfback
