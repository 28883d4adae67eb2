#include "halfback/base/file.h"

#include "halfback/base/error.h"
#include "halfback/base/staged_directory.h"
#include "tests/support/errors.h"
#include "tests/support/no_exchange.h"
#include "tests/support/small_disk.h"
#include "tests/support/temporary_directory.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <sys/stat.h>
#include <sys/wait.h>
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
                       "f: over 1000 bytes long"));
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

TEST(StagedDirectoryTest, AppearsByCommit) {
  const TemporaryDirectory directory;
  const fs::path target = directory / "runs/a/";
  StagedDirectory staged(target, "marker");
  spit(staged.path() / "marker", "1");
  EXPECT_FALSE(fs::exists(target));
  staged.commit();
  EXPECT_EQ(slurp(target / "marker"), "1");
  EXPECT_EQ(num_entries(directory / "runs"), 1);
}

TEST(StagedDirectoryTest, IsRemovedWithoutCommit) {
  const TemporaryDirectory directory;
  { StagedDirectory staged(directory / "a", "marker"); }
  EXPECT_EQ(num_entries(directory.path()), 0);
}

TEST(StagedDirectoryTest, ReplacesTheWholeOldDirectory) {
  const TemporaryDirectory directory;
  for (const char* name : {"first", "second"}) {
    StagedDirectory staged(directory / "a", "marker");
    spit(staged.path() / "marker", name);
    fs::create_directory(staged.path() / "deep");
    spit(staged.path() / "deep" / name, name);
    staged.commit();
  }
  EXPECT_EQ(slurp(directory / "a/marker"), "second");
  EXPECT_EQ(num_entries(directory / "a/deep"), 1);
  EXPECT_EQ(num_entries(directory.path()), 1);
}

TEST(StagedDirectoryTest, ReplacesAnEmptyDirectoryAndFollowsALink) {
  const TemporaryDirectory directory;
  fs::create_directory(directory / "real");
  fs::create_symlink("real", directory / "link");
  StagedDirectory staged(directory / "link", "marker");
  spit(staged.path() / "marker", "1");
  staged.commit();
  EXPECT_TRUE(fs::is_symlink(directory / "link"));
  EXPECT_EQ(slurp(directory / "real/marker"), "1");
}

TEST(StagedDirectoryTest, ReplacesNoForeignFiles) {
  const TemporaryDirectory directory;
  fs::create_directory(directory / "thesis");
  spit(directory / "thesis/chapter1", "dear");
  const std::string text =
      text_of_thrown<FileError>([&] { StagedDirectory staged(directory / "thesis", "marker"); });
  EXPECT_TRUE(contains(text, "thesis: holds files but no marker; replacing it would delete them"));
  EXPECT_EQ(slurp(directory / "thesis/chapter1"), "dear");
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] {
                         StagedDirectory staged(directory / "thesis/chapter1", "marker");
                       }),
                       "is a file; expected a directory"));
}

TEST(StagedDirectoryTest, CommitsNothingWithoutItsMarker) {
  const TemporaryDirectory directory;
  StagedDirectory staged(directory / "a", "marker");
  EXPECT_THROW(staged.commit(), std::logic_error);
  EXPECT_FALSE(fs::exists(directory / "a"));
}

TEST(StagedDirectoryTest, TakesOverWhatADeadProcessLeft) {
  const TemporaryDirectory directory;
  const fs::path left = directory / ("a.tmp." + std::to_string(::getpid()));
  fs::create_directory(left);
  spit(left / "part", "x");
  const StagedDirectory staged(directory / "a", "marker");
  EXPECT_EQ(num_entries(staged.path()), 0);
}

// Makes a directory with a marker in place.
void put(const fs::path& target, const char* text, const fs::path& old = {}) {
  StagedDirectory staged(target, "marker");
  spit(staged.path() / "marker", text);
  staged.commit(old);
}

TEST(StagedDirectoryTest, KeepsTheOldOneUnderAnotherName) {
  const TemporaryDirectory directory;
  put(directory / "a", "1", directory / "old");  // there is none yet
  EXPECT_EQ(num_entries(directory.path()), 1);
  put(directory / "a", "2", directory / "old");
  EXPECT_EQ(slurp(directory / "a/marker"), "2");
  EXPECT_EQ(slurp(directory / "old/marker"), "1");
  put(directory / "a", "3", directory / "old");
  EXPECT_EQ(slurp(directory / "old/marker"), "2");
  EXPECT_EQ(num_entries(directory.path()), 2);
}

// Runs a part of a test in a child, where it may change the process. Returns its exit code.
template <typename Part>
int exit_code_of_child(Part part) {
  const pid_t child = ::fork();
  if (child == 0) {
    part();
    ::_exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(StagedDirectoryTest, ReplacesWhereTwoNamesCannotBeExchanged) {
  EXPECT_EQ(exit_code_of_child([] {
              const TemporaryDirectory directory;
              testing::forbid_exchange();
              put(directory / "a", "1");
              put(directory / "a", "2");
              EXPECT_EQ(slurp(directory / "a/marker"), "2");
              EXPECT_EQ(num_entries(directory.path()), 1);
              put(directory / "a", "3", directory / "old");
              EXPECT_EQ(slurp(directory / "a/marker"), "3");
              EXPECT_EQ(slurp(directory / "old/marker"), "2");
              EXPECT_EQ(num_entries(directory.path()), 2);
            }),
            0);
}

TEST(StagedDirectoryTest, DiscardsAnotherDirectory) {
  const TemporaryDirectory directory;
  put(directory / "other/deep", "x");
  StagedDirectory staged(directory / "a", "marker");
  spit(staged.path() / "marker", "1");
  EXPECT_THROW(staged.discard(directory / "other"), std::logic_error);
  staged.commit();
  staged.discard(directory / "other");
  EXPECT_EQ(num_entries(directory.path()), 1);
}

TEST(StagedDirectoryTest, RemovesWhatDeadProcessesLeftAndNothingElse) {
  const TemporaryDirectory directory;
  const pid_t dead = ::fork();
  if (dead == 0) {
    ::_exit(0);
  }
  ::waitpid(dead, nullptr, 0);
  fs::create_directory(directory / fmt::format("a.tmp.{}", dead));
  const std::vector<std::string> others = {fmt::format("a.tmp.{}", ::getppid()), "a.tmp.x",
                                           "a.tmp.-1", fmt::format("b.tmp.{}", dead), "a.tmp."};
  for (const std::string& name : others) {
    fs::create_directory(directory / name);
  }
  put(directory / "a", "1");
  for (const std::string& name : others) {
    EXPECT_TRUE(fs::exists(directory / name)) << name;
  }
  EXPECT_EQ(num_entries(directory.path()), static_cast<std::ptrdiff_t>(others.size()) + 1);
}

TEST(StagedDirectoryTest, KeepsTheOldOneOnAFullDisk) {
  const SmallDisk disk;
  {
    StagedDirectory staged(disk.path() / "a", "marker");
    write_file_atomically(staged.path() / "marker", "old");
    staged.commit();
  }
  EXPECT_THROW(
      {
        StagedDirectory staged(disk.path() / "a", "marker");
        write_file_atomically(staged.path() / "marker", "new");
        write_file_atomically(staged.path() / "data", std::string(1'000'000, 'x'));
        staged.commit();
      },
      FileError);
  EXPECT_EQ(slurp(disk.path() / "a/marker"), "old");
  EXPECT_EQ(num_entries(disk.path()), 1);
}

}  // namespace
}  // namespace halfback
