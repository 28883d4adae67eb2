#include "halfback/base/staged_directory.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/base/text.h"

#include <fmt/format.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <limits>
#include <optional>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

namespace halfback {

namespace fs = std::filesystem;

using detail::beside;
using detail::fail_io;
using detail::rename_path;
using detail::resolve_target;
using detail::sync_path;

namespace {

// Marks a staging directory until commit(). Where it is left, the process died before commit(), and
// everything in the directory is its own.
constexpr const char* kUnfinished = ".halfback-unfinished";

void remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) {
    fail_io(path.string(), "remove", error.value());
  }
}

// Throws for a target that a directory cannot replace.
void require_replaceable(const fs::path& target) {
  std::error_code ignored;
  if (!fs::exists(fs::symlink_status(target, ignored))) {
    return;
  }
  const char* found = nullptr;
  struct statx status {};
  if (!fs::is_directory(target, ignored)) {
    found = fs::is_symlink(target, ignored) ? "a link to nothing" : "a file";
  } else if (::statx(AT_FDCWD, target.c_str(), 0, STATX_TYPE, &status) == 0 &&
             (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0) {
    found = "the root of a mounted file system, which cannot be replaced";
  }
  if (found != nullptr) {
    throw FileError(fmt::format("{}: is {}; expected a directory or nothing; choose another place",
                                target.string(), found));
  }
}

std::set<std::string> names_in(const fs::path& directory) {
  std::set<std::string> names;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error)) {
    names.insert(entry.path().filename().string());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    fail_io(directory.string(), "read", error.value());
  }
  return names;
}

std::set<std::string> without(std::set<std::string> names, const std::set<std::string>& others) {
  std::erase_if(names, [&](const std::string& name) { return others.count(name) > 0; });
  return names;
}

bool is_true_directory(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(fs::symlink_status(path, ignored));
}

// Hard-links `from` as `to`, a directory file by file. Whatever cannot be linked is left to move().
void link(const fs::path& from, const fs::path& to) {
  std::error_code ignored;
  if (!is_true_directory(from)) {
    fs::create_hard_link(from, to, ignored);
    return;
  }
  fs::create_directory(to, from, ignored);
  for (const fs::directory_entry& entry : fs::directory_iterator(from, ignored)) {
    link(entry.path(), to / entry.path().filename());
  }
}

// Moves a file or directory; if link() has made the directory `to`, moves the entries into it. What
// cannot be moved stays.
void move(const fs::path& from, const fs::path& to) {
  std::error_code ignored;
  if (is_true_directory(from) && is_true_directory(to)) {
    for (const std::string& name : names_in(from)) {
      move(from / name, to / name);
    }
  } else if (std::rename(from.c_str(), to.c_str()) != 0) {
    return;
  }
  fs::remove(from, ignored);  // an empty directory, or the second name of one file
}

void sync_tree(const fs::path& root) {
  try {
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root)) {
      if (entry.is_regular_file() || entry.is_directory()) {
        sync_path(entry.path());
      }
    }
  } catch (const fs::filesystem_error& error) {
    fail_io(root.string(), "read", error.code().value());
  }
  sync_path(root);
}

// Returns whether the path is TARGET.tmp.PID of a process that is dead, or of this one.
bool is_left_over(const fs::path& path, const fs::path& target) {
  const std::string name = path.filename().string();
  const std::string prefix = target.filename().string() + ".tmp.";
  if (!name.starts_with(prefix)) {
    return false;
  }
  const std::optional<std::int64_t> process =
      parse_integer(std::string_view(name).substr(prefix.size()));
  if (!process || *process <= 0 || *process > std::numeric_limits<pid_t>::max()) {
    return false;
  }
  const auto number = static_cast<pid_t>(*process);
  return number == ::getpid() || (::kill(number, 0) != 0 && errno == ESRCH);
}

// Returns the first of PATH.aside, PATH.aside-2, ... that is free.
fs::path aside_of(const fs::path& path) {
  fs::path aside = path.string() + ".aside";
  for (int i = 2; fs::exists(fs::symlink_status(aside)); ++i) {
    aside = fmt::format("{}.aside-{}", path.string(), i);
  }
  return aside;
}

// Returns the new place of the old directory, if there was one.
fs::path swap_directories(const fs::path& staging, const fs::path& target, const fs::path& old) {
  if (!fs::exists(target)) {
    rename_path(staging, target);
    return {};
  }
  if (::renameat2(AT_FDCWD, staging.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) == 0) {
    sync_path(target.parent_path());
    return staging;
  }
  if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) {
    fail_io(target.string(), "put in place", errno);
  }
  const fs::path aside = old.empty() ? beside(target, "old") : old;
  rename_path(target, aside);
  rename_path(staging, target);
  if (old.empty()) {
    rename_path(aside, staging);
    return staging;
  }
  return old;
}

}  // namespace

StagedDirectory::StagedDirectory(const fs::path& target, std::string marker, OwnEntries own)
    : target_(resolve_target(target)),
      staging_(beside(target_, "tmp")),
      marker_(std::move(marker)),
      own_(std::move(own)) {
  require_replaceable(target_);
  remove_left_overs();
  std::error_code error;
  fs::create_directories(staging_.parent_path(), error);
  if (!error && !fs::create_directory(staging_, error) && !error) {
    error = std::make_error_code(std::errc::file_exists);
  }
  if (error) {
    fail_io(target.string(), "make the directory", error.value());
  }
  // Private files stay private from their first byte; commit() sets the whole mode.
  if (const fs::file_status there = fs::status(target_, error); fs::is_directory(there)) {
    fs::permissions(staging_, there.permissions() | fs::perms::owner_all, error);
  }
  const OutputFile sign(staging_ / kUnfinished, OpenMode::Exclusive);
}

StagedDirectory::~StagedDirectory() {
  if (!is_committed_) {
    std::error_code ignored;
    fs::remove_all(staging_, ignored);
  }
}

bool StagedDirectory::is_all_own(const fs::path& directory) const {
  return is_true_directory(directory) && names_in(directory) == own_(directory);
}

// Removes the marker last: until then it proves that the rest is ours.
void StagedDirectory::remove_own(const fs::path& directory) const {
  std::error_code ignored;
  fs::permissions(directory, fs::perms::owner_all, fs::perm_options::add, ignored);
  for (const std::string& name : names_in(directory)) {
    if (name != marker_) {
      remove_tree(directory / name);
    }
  }
  remove_tree(directory);
}

void StagedDirectory::retire(const fs::path& directory,
                             const fs::path& named_after,
                             std::vector<fs::path>& aside) const {
  if (is_all_own(directory)) {
    remove_own(directory);
    return;
  }
  aside.push_back(aside_of(named_after));
  rename_path(directory, aside.back());
}

void StagedDirectory::remove_left_overs() const {
  std::vector<fs::path> found;
  std::error_code error;  // ignored: without the folder there is nothing to remove
  for (const fs::directory_entry& entry : fs::directory_iterator(target_.parent_path(), error)) {
    if (is_left_over(entry.path(), target_) && is_true_directory(entry.path())) {
      found.push_back(entry.path());
    }
  }
  for (const fs::path& path : found) {
    if (fs::exists(path / kUnfinished)) {
      remove_tree(path);
      continue;
    }
    // An old directory whose process died after the swap.
    const std::set<std::string> own = own_(path);
    if (!own.empty() && fs::is_directory(target_)) {
      for (const std::string& name : without(without(names_in(path), own), own_(target_))) {
        move(path / name, target_ / name);
      }
    }
    if (is_all_own(path)) {
      remove_own(path);
    }
  }
}

std::vector<fs::path> StagedDirectory::commit(const fs::path& old) {
  HALFBACK_CHECK(fs::exists(staging_ / marker_), marker_);
  require_replaceable(target_);
  const std::set<std::string> written = names_in(staging_);
  const std::set<std::string> own = own_(target_);
  const auto others_in = [&](const fs::path& directory) {
    return without(without(names_in(directory), own), written);
  };
  for (const std::string& name : others_in(target_)) {
    link(target_ / name, staging_ / name);
  }
  remove_tree(staging_ / kUnfinished);
  sync_tree(staging_);
  std::vector<fs::path> aside;
  if (!old.empty() && fs::exists(fs::symlink_status(old))) {
    retire(old, old, aside);
  }
  const fs::path before = swap_directories(staging_, target_, old);
  is_committed_ = true;
  if (before.empty()) {
    return aside;
  }
  std::error_code ignored;
  const fs::perms mode = fs::status(before, ignored).permissions();
  for (const std::string& name : others_in(before)) {
    move(before / name, target_ / name);
  }
  if (old.empty()) {
    retire(before, target_, aside);
  } else if (before != old) {
    rename_path(before, old);
  }
  fs::permissions(target_, mode, ignored);
  return aside;
}

void StagedDirectory::discard(const fs::path& other) const {
  HALFBACK_CHECK(is_committed_, other.string());
  if (is_all_own(other)) {
    rename_path(other, staging_);
    remove_own(staging_);
  }
}

}  // namespace halfback
