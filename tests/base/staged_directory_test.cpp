#include "halfback/base/staged_directory.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "tests/support/errors.h"
#include "tests/support/no_exchange.h"
#include "tests/support/small_disk.h"
#include "tests/support/temporary_directory.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace halfback {
namespace {

namespace fs = std::filesystem;

// What these directories hold of their own: the marker, and the files that it names.
std::set<std::string> own_of(const fs::path& directory) {
  std::set<std::string> own;
  if (fs::exists(directory / "marker")) {
    own.insert("marker");
    std::istringstream words(slurp(directory / "marker"));
    for (std::string word; words >> word;) {
      if (fs::exists(directory / word)) {
        own.insert(word);
      }
    }
  }
  return own;
}

std::unique_ptr<StagedDirectory> stage(const fs::path& target) {
  return std::make_unique<StagedDirectory>(target, "marker", own_of);
}

TEST(StagedDirectoryTest, AppearsByCommit) {
  const TemporaryDirectory directory;
  const fs::path target = directory / "runs/a/";
  const auto staged = stage(target);
  spit(staged->path() / "marker", "1");
  EXPECT_FALSE(fs::exists(target));
  EXPECT_TRUE(staged->commit().empty());
  EXPECT_EQ(slurp(target / "marker"), "1");
  EXPECT_EQ(num_entries(target), 1);
  EXPECT_EQ(num_entries(directory / "runs"), 1);
}

TEST(StagedDirectoryTest, ANameWithoutAFolderIsOneInTheCurrentFolder) {
  const TemporaryDirectory directory;
  const fs::path before = fs::current_path();
  fs::current_path(directory.path());
  const auto staged = stage("run");
  fs::current_path(before);
  spit(staged->path() / "marker", "1");
  EXPECT_TRUE(staged->commit().empty());
  EXPECT_EQ(slurp(directory / "run" / "marker"), "1");
}

TEST(StagedDirectoryTest, IsRemovedWithoutCommit) {
  const TemporaryDirectory directory;
  { const auto staged = stage(directory / "a"); }
  EXPECT_EQ(num_entries(directory.path()), 0);
}

TEST(StagedDirectoryTest, ReplacesTheWholeOldDirectory) {
  const TemporaryDirectory directory;
  for (const char* name : {"first", "second"}) {
    const auto staged = stage(directory / "a");
    fs::create_directory(staged->path() / "deep");
    spit(staged->path() / "deep" / name, name);
    spit(staged->path() / "marker", "deep");
    staged->commit();
  }
  EXPECT_EQ(slurp(directory / "a/deep/second"), "second");
  EXPECT_EQ(num_entries(directory / "a/deep"), 1);
  EXPECT_EQ(num_entries(directory.path()), 1);
}

TEST(StagedDirectoryTest, ReplacesAnEmptyDirectoryAndFollowsALink) {
  const TemporaryDirectory directory;
  fs::create_directory(directory / "real");
  fs::create_symlink("real", directory / "link");
  const auto staged = stage(directory / "link");
  spit(staged->path() / "marker", "1");
  staged->commit();
  EXPECT_TRUE(fs::is_symlink(directory / "link"));
  EXPECT_EQ(slurp(directory / "real/marker"), "1");
}

TEST(StagedDirectoryTest, KeepsTheModeOfTheOldOne) {
  const TemporaryDirectory directory;
  const fs::path target = directory / "a";
  for (const fs::perms mode : {fs::perms(0700), fs::perms(0500), fs::perms(0750)}) {
    const auto first = stage(target);
    spit(first->path() / "marker", "1");
    first->commit();
    fs::permissions(target, mode);
    const auto second = stage(target);
    EXPECT_EQ(fs::status(second->path()).permissions(), mode | fs::perms::owner_all);
    spit(second->path() / "marker", "2");
    EXPECT_TRUE(second->commit().empty());
    EXPECT_EQ(fs::status(target).permissions(), mode);
    EXPECT_EQ(slurp(target / "marker"), "2");
  }
  EXPECT_EQ(num_entries(directory.path()), 1);
}

TEST(StagedDirectoryTest, RefusesWhatNoDirectoryCanReplace) {
  const TemporaryDirectory directory;
  spit(directory / "file", "dear");
  fs::create_symlink("nothing", directory / "link");
  const SmallDisk disk;
  for (const auto& [place, found] : std::vector<std::pair<fs::path, std::string>>{
           {directory / "file", "file: is a file; expected a directory or nothing"},
           {directory / "link", "link: is a link to nothing; expected a directory or nothing"},
           {disk.path(), "is the root of a mounted file system, which cannot be replaced"}}) {
    const std::string text = text_of_thrown<FileError>([&] { stage(place); });
    EXPECT_TRUE(contains(text, found)) << text;
  }
  EXPECT_EQ(slurp(directory / "file"), "dear");
}

// Makes a directory with a marker in place, which names a file "data".
std::vector<fs::path> put(const fs::path& target, const char* text, const fs::path& old = {}) {
  const auto staged = stage(target);
  spit(staged->path() / "data", text);
  spit(staged->path() / "marker", "data");
  return staged->commit(old);
}

std::string data_of(const fs::path& place) { return slurp(place / "data"); }

// All that is there, by its path from the directory; contents of files.
std::map<std::string, std::string> tree(const fs::path& directory) {
  std::map<std::string, std::string> found;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(directory)) {
    found[entry.path().lexically_relative(directory).string()] =
        entry.is_symlink()     ? "-> " + fs::read_symlink(entry.path()).string()
        : entry.is_directory() ? "/"
                               : slurp(entry.path());
  }
  return found;
}

using Tree = std::map<std::string, std::string>;

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

void expect_foreign_files_to_move_on() {
  const TemporaryDirectory directory;
  put(directory / "a", "1");
  spit(directory / "a/notes", "mine");
  fs::create_directories(directory / "a/deep/er");
  spit(directory / "a/deep/er/plot", "mine too");
  fs::create_symlink("nowhere", directory / "a/link");
  for (const char* text : {"2", "3"}) {
    EXPECT_TRUE(put(directory / "a", text, directory / "old").empty());
  }
  EXPECT_TRUE(put(directory / "a", "4").empty());
  EXPECT_EQ(tree(directory.path()), (Tree{{"a", "/"},
                                          {"a/data", "4"},
                                          {"a/marker", "data"},
                                          {"a/notes", "mine"},
                                          {"a/deep", "/"},
                                          {"a/deep/er", "/"},
                                          {"a/deep/er/plot", "mine too"},
                                          {"a/link", "-> nowhere"},
                                          {"old", "/"},
                                          {"old/data", "2"},
                                          {"old/marker", "data"}}));
}

TEST(StagedDirectoryTest, FilesOfOthersMoveOn) {
  expect_foreign_files_to_move_on();
  EXPECT_EQ(exit_code_of_child([] {
              testing::forbid_exchange();
              expect_foreign_files_to_move_on();
            }),
            0);
}

TEST(StagedDirectoryTest, SetsAsideWhatCannotMoveOn) {
  const TemporaryDirectory directory;
  fs::create_directory(directory / "a");
  spit(directory / "a/data", "mine");
  spit(directory / "a/notes", "mine");
  EXPECT_EQ(put(directory / "a", "1"), std::vector<fs::path>{directory / "a.aside"});
  EXPECT_EQ(put(directory / "a", "2"), std::vector<fs::path>{});
  fs::create_directory(directory / "old");
  spit(directory / "old/data", "old");
  EXPECT_EQ(put(directory / "a", "3", directory / "old"),
            std::vector<fs::path>{directory / "old.aside"});
  fs::remove(directory / "a/marker");
  EXPECT_EQ(put(directory / "a", "4"), std::vector<fs::path>{directory / "a.aside-2"});
  EXPECT_EQ(tree(directory.path()), (Tree{{"a", "/"},
                                          {"a/data", "4"},
                                          {"a/marker", "data"},
                                          {"a/notes", "mine"},
                                          {"a.aside", "/"},
                                          {"a.aside/data", "mine"},
                                          {"a.aside-2", "/"},
                                          {"a.aside-2/data", "3"},
                                          {"old", "/"},
                                          {"old/data", "2"},
                                          {"old/marker", "data"},
                                          {"old.aside", "/"},
                                          {"old.aside/data", "old"}}));
}

TEST(StagedDirectoryTest, CommitsNothingWithoutItsMarker) {
  const TemporaryDirectory directory;
  const auto staged = stage(directory / "a");
  EXPECT_THROW(staged->commit(), std::logic_error);
  EXPECT_FALSE(fs::exists(directory / "a"));
}

TEST(StagedDirectoryTest, TakesOverWhatADeadProcessLeft) {
  const TemporaryDirectory directory;
  const fs::path left = directory / ("a.tmp." + std::to_string(::getpid()));
  fs::create_directory(left);
  spit(left / "part", "x");
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { stage(directory / "a"); }), "File exists"));
  EXPECT_EQ(slurp(left / "part"), "x") << "without a sign, it may be somebody's";
  spit(left / ".halfback-unfinished", "");
  const auto staged = stage(directory / "a");
  EXPECT_FALSE(fs::exists(staged->path() / "part"));
}

TEST(StagedDirectoryTest, KeepsTheOldOneUnderAnotherName) {
  const TemporaryDirectory directory;
  put(directory / "a", "1", directory / "old");  // there is none yet
  EXPECT_EQ(num_entries(directory.path()), 1);
  put(directory / "a", "2", directory / "old");
  EXPECT_EQ(data_of(directory / "a"), "2");
  EXPECT_EQ(data_of(directory / "old"), "1");
  put(directory / "a", "3", directory / "old");
  EXPECT_EQ(data_of(directory / "old"), "2");
  EXPECT_EQ(num_entries(directory.path()), 2);
}

TEST(StagedDirectoryTest, ReplacesWhereTwoNamesCannotBeExchanged) {
  EXPECT_EQ(exit_code_of_child([] {
              const TemporaryDirectory directory;
              testing::forbid_exchange();
              put(directory / "a", "1");
              put(directory / "a", "2");
              EXPECT_EQ(data_of(directory / "a"), "2");
              EXPECT_EQ(num_entries(directory.path()), 1);
              put(directory / "a", "3", directory / "old");
              EXPECT_EQ(data_of(directory / "a"), "3");
              EXPECT_EQ(data_of(directory / "old"), "2");
              EXPECT_EQ(num_entries(directory.path()), 2);
            }),
            0);
}

TEST(StagedDirectoryTest, DiscardsAnotherDirectoryOfItsOwn) {
  const TemporaryDirectory directory;
  put(directory / "other/deep", "x");
  put(directory / "noted", "x");
  spit(directory / "noted/notes", "mine");
  const auto staged = stage(directory / "a");
  spit(staged->path() / "marker", "1");
  EXPECT_THROW(staged->discard(directory / "other"), std::logic_error);
  staged->commit();
  staged->discard(directory / "other/deep");
  staged->discard(directory / "noted");
  EXPECT_EQ(num_entries(directory / "other"), 0);
  EXPECT_EQ(num_entries(directory / "noted"), 3) << "with a file of another";
}

TEST(StagedDirectoryTest, RemovesWhatDeadProcessesLeftAndNothingElse) {
  const TemporaryDirectory directory;
  const pid_t dead = ::fork();
  if (dead == 0) {
    ::_exit(0);
  }
  ::waitpid(dead, nullptr, 0);
  const std::string left = fmt::format("a.tmp.{}", dead);
  fs::create_directory(directory / left);
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
  // Killed after the swap, before what others had put there moved on; and a directory of theirs.
  put(directory / left, "0");
  spit(directory / left / "notes", "mine");
  put(directory / "a", "2");
  EXPECT_FALSE(fs::exists(directory / left));
  EXPECT_EQ(slurp(directory / "a/notes"), "mine");
  fs::create_directory(directory / left);
  spit(directory / left / "thesis", "dear");
  put(directory / "a", "3");
  EXPECT_EQ(slurp(directory / left / "thesis"), "dear");
}

TEST(StagedDirectoryTest, KeepsTheOldOneOnAFullDisk) {
  const SmallDisk disk;
  {
    const auto staged = stage(disk.path() / "a");
    write_file_atomically(staged->path() / "marker", "old");
    staged->commit();
  }
  EXPECT_THROW(
      {
        const auto staged = stage(disk.path() / "a");
        write_file_atomically(staged->path() / "marker", "new");
        write_file_atomically(staged->path() / "data", std::string(1'000'000, 'x'));
        staged->commit();
      },
      FileError);
  EXPECT_EQ(slurp(disk.path() / "a/marker"), "old");
  EXPECT_EQ(num_entries(disk.path()), 1);
}

}  // namespace
}  // namespace halfback
