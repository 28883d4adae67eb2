#include "halfback/train/tensorboard.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/small_disk.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace halfback {
namespace {

// Returns the payloads of a file of records, checking lengths and checksums.
std::vector<std::string> payloads(const std::string& bytes) {
  std::vector<std::string> result;
  for (std::size_t at = 0; at < bytes.size();) {
    std::uint64_t size = 0;
    std::memcpy(&size, bytes.data() + at, sizeof size);
    const std::string payload = bytes.substr(at + 12, size);
    EXPECT_EQ(bytes.substr(at, size + 16), detail::tf_record(payload));
    result.push_back(payload);
    at += size + 16;
  }
  return result;
}

// Wall time: key, eight bytes.
constexpr std::size_t kWallTimeBytes = 9;

TEST(TensorboardTest, ChecksumsAreThoseOfTheStandard) {
  // RFC 3720, B.4.
  EXPECT_EQ(detail::crc32c(std::string(32, '\0')), 0x8A9136AAU);
  EXPECT_EQ(detail::crc32c(std::string(32, '\xFF')), 0x62A8AB43U);
  EXPECT_EQ(detail::crc32c("123456789"), 0xE3069283U);
}

TEST(TensorboardTest, WritesTheVersionAndEachScalar) {
  const TemporaryDirectory directory;
  EventWriter writer(directory / "deep/logs");
  writer.scalar("loss", 1.5, 300);
  writer.flush();
  EXPECT_EQ(writer.path().filename().string().rfind("events.out.tfevents.", 0), 0U);
  const std::vector<std::string> events = payloads(slurp(writer.path()));
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].substr(kWallTimeBytes), "\x1a\rbrain.Event:2");
  // step 300; summary of 13 bytes: value of 11: tag of 4, float 1.5
  EXPECT_EQ(events[1].substr(kWallTimeBytes),
            std::string("\x10\xAC\x02\x2a\x0d\x0a\x0b\x0a\x04loss\x15\x00\x00\xC0\x3F", 18));
}

TEST(TensorboardTest, FlushesAtTheEndAndWhenMuchIsPending) {
  const TemporaryDirectory directory;
  std::filesystem::path path;
  {
    EventWriter writer(directory.path());
    path = writer.path();
    for (int step = 0; step < 5000; ++step) {
      writer.scalar("loss", step, step);
    }
    EXPECT_GT(std::filesystem::file_size(path), 100'000U);
  }
  EXPECT_EQ(payloads(slurp(path)).size(), 5001U);
}

TEST(TensorboardTest, WritersOfOneSecondHaveFilesOfTheirOwn) {
  const TemporaryDirectory directory;
  const EventWriter first(directory.path());
  const EventWriter second(directory.path(), 0);
  const EventWriter third(directory.path(), 0);
  EXPECT_EQ(num_entries(directory.path()), 3);
}

TEST(TensorboardTest, ANewWriterLeavesTheEventsThatAreThere) {
  const TemporaryDirectory directory;
  spit(directory / "trace.json", "{}");
  const EventWriter first(directory.path());
  const EventWriter second(directory.path());
  EXPECT_EQ(num_entries(directory.path()), 3);
}

TEST(TensorboardTest, NamesTheFileThatCannotBeWritten) {
  const TemporaryDirectory directory;
  spit(directory / "file", "x");
  EXPECT_TRUE(
      contains(text_of_thrown<FileError>([&] { EventWriter writer(directory / "file/logs"); }),
               "file/logs: cannot make the directory: Not a directory"));
}

TEST(TensorboardTest, SaysThatTheDiskIsFull) {
  const SmallDisk disk;
  EventWriter writer(disk.path());
  const std::string text = text_of_thrown<FileError>([&] {
    for (int step = 0; step < 10'000; ++step) {
      writer.scalar("loss", step, step);
    }
  });
  EXPECT_TRUE(contains(text, "cannot write: No space left on device")) << text;
}

}  // namespace
}  // namespace halfback
