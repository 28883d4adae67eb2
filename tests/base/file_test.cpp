#include "halfback/base/file.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/small_disk.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace halfback {
namespace {

namespace fs = std::filesystem;

TEST(FileTest, ReadsWhatIsThereUpToTheCap) {
  const TemporaryDirectory directory;
  std::string bytes(3'000'000, 'a');
  bytes += '\0';
  bytes += "end";
  spit(directory / "f", bytes);
  EXPECT_EQ(read_file(directory / "f"), bytes);
  EXPECT_EQ(read_file(directory / "f", bytes.size()), bytes);
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { read_file(directory / "f", 1000); }),
                       "f: over 1000 bytes long; at most 1000 are read; check the path"));
}

TEST(FileTest, SaysWhyAFileCannotBeRead) {
  const TemporaryDirectory directory;
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { read_file(directory / "none"); }),
                       "none: cannot open: No such file or directory; check the path"));
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { read_file(directory.path()); }),
                       "cannot read: Is a directory"));
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { MappedFile file(directory.path()); }),
                       "is a directory; expected a regular file"));
  ASSERT_EQ(::mkfifo((directory / "pipe").c_str(), 0600), 0);
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { MappedFile file(directory / "pipe"); }),
                       "is a device or pipe"));
}

TEST(FileTest, MapsAFileAndAnEmptyOne) {
  const TemporaryDirectory directory;
  spit(directory / "f", "abc");
  spit(directory / "empty", "");
  EXPECT_EQ(MappedFile(directory / "f").bytes(), "abc");
  EXPECT_TRUE(MappedFile(directory / "empty").bytes().empty());
}

TEST(FileTest, AMappingMovesWithItsAddress) {
  const TemporaryDirectory directory;
  spit(directory / "f", "abc");
  MappedFile first(directory / "f");
  const char* address = first.bytes().data();
  const MappedFile second(std::move(first));
  EXPECT_EQ(second.bytes().data(), address);
  EXPECT_EQ(second.bytes(), "abc");
}

TEST(FileTest, ReplacesAFileOnlyByCommit) {
  const TemporaryDirectory directory;
  const fs::path path = directory / "f";
  write_file_atomically(path, "old");
  {
    AtomicFile file(path);
    file.write("new");
    EXPECT_EQ(slurp(path), "old");
    EXPECT_EQ(num_entries(directory.path()), 2);
  }
  EXPECT_EQ(slurp(path), "old");
  EXPECT_EQ(num_entries(directory.path()), 1);
  write_file_atomically(path, "new");
  EXPECT_EQ(slurp(path), "new");
  EXPECT_EQ(num_entries(directory.path()), 1);
}

TEST(FileTest, WritesThroughASymbolicLink) {
  const TemporaryDirectory directory;
  fs::create_directory(directory / "real");
  spit(directory / "real/f", "old");
  fs::create_symlink("real/f", directory / "link");
  write_file_atomically(directory / "link", "new");
  EXPECT_TRUE(fs::is_symlink(directory / "link"));
  EXPECT_EQ(slurp(directory / "real/f"), "new");
}

TEST(FileTest, WritesStraightToADevice) {
  write_file_atomically("/dev/null", "x");
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  EXPECT_TRUE(contains(text_of_thrown<FileError>([] { write_file_atomically("/dev/full", "x"); }),
                       "/dev/full: cannot write: No space left on device; make room there or write "
                       "elsewhere"));
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
}

TEST(FileTest, NamesThePathThatCannotBeWritten) {
  const TemporaryDirectory directory;
  const fs::path path = directory / "none/f";
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { write_file_atomically(path, "x"); }),
                       path.string() + ": cannot open for writing: No such file"));
  EXPECT_TRUE(
      contains(text_of_thrown<FileError>([&] { write_file_atomically(directory.path(), "x"); }),
               "cannot put in place: Is a directory"));
  EXPECT_EQ(num_entries(directory.path()), 0);
}

TEST(FileTest, LeavesNoPartOfAFileOnAFullDisk) {
  const SmallDisk disk;
  write_file_atomically(disk.path() / "f", "old");
  const std::string text = text_of_thrown<FileError>(
      [&] { write_file_atomically(disk.path() / "f", std::string(1'000'000, 'x')); });
  EXPECT_TRUE(contains(text, "/f: cannot write: No space left on device; make room")) << text;
  EXPECT_EQ(slurp(disk.path() / "f"), "old");
  EXPECT_EQ(num_entries(disk.path()), 1);
}

TEST(FileTest, AppendsAndRefusesAnExistingName) {
  const TemporaryDirectory directory;
  for (const char* part : {"a", "b"}) {
    OutputFile file(directory / "f", OpenMode::Append);
    file.write(part);
    file.sync();
    file.close();
    file.close();
  }
  EXPECT_EQ(slurp(directory / "f"), "ab");
  EXPECT_TRUE(contains(
      text_of_thrown<FileError>([&] { OutputFile file(directory / "f", OpenMode::Exclusive); }),
      "File exists; choose another name"));
}

}  // namespace
}  // namespace halfback
