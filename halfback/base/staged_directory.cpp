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

void remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) {
    fail_io(path.string(), "remove", error.value());
  }
}

void check_replaceable(const fs::path& target, const std::string& marker) {
  std::error_code error;
  const fs::file_status status = fs::status(target, error);
  if (!fs::exists(status)) {
    return;
  }
  if (!fs::is_directory(status)) {
    throw FileError(
        fmt::format("{}: is a file; expected a directory or nothing; choose another "
                    "place",
                    target.string()));
  }
  const bool is_empty = fs::is_empty(target, error);
  if (!error && !is_empty && !fs::exists(target / marker, error)) {
    throw FileError(
        fmt::format("{}: holds files but no {}; replacing it would delete them; choose "
                    "a new or empty directory",
                    target.string(), marker));
  }
  if (error) {
    fail_io(target.string(), "read", error.value());
  }
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

void remove_left_overs(const fs::path& target) {
  std::vector<fs::path> found;
  std::error_code error;  // no such folder: nothing is left there
  for (const fs::directory_entry& entry : fs::directory_iterator(target.parent_path(), error)) {
    if (is_left_over(entry.path(), target)) {
      found.push_back(entry.path());
    }
  }
  for (const fs::path& path : found) {
    remove_tree(path);
  }
}

// Afterwards the old directory, if there was one, is at `old`, or at `staging` when that is empty.
void swap_directories(const fs::path& staging, const fs::path& target, const fs::path& old) {
  if (!fs::exists(target)) {
    rename_path(staging, target);
    return;
  }
  if (::renameat2(AT_FDCWD, staging.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) == 0) {
    sync_path(target.parent_path());
    if (!old.empty()) {
      rename_path(staging, old);
    }
    return;
  }
  if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) {
    fail_io(target.string(), "put in place", errno);
  }
  const fs::path aside = old.empty() ? beside(target, "old") : old;
  rename_path(target, aside);
  rename_path(staging, target);
  if (old.empty()) {
    rename_path(aside, staging);
  }
}

}  // namespace

StagedDirectory::StagedDirectory(const fs::path& target, std::string marker)
    : target_(resolve_target(target)),
      staging_(beside(target_, "tmp")),
      marker_(std::move(marker)) {
  check_replaceable(target_, marker_);
  remove_left_overs(target_);
  std::error_code error;
  fs::create_directories(staging_, error);
  if (error) {
    fail_io(target.string(), "make the directory", error.value());
  }
}

StagedDirectory::~StagedDirectory() {
  if (!is_committed_) {
    std::error_code ignored;
    fs::remove_all(staging_, ignored);
  }
}

void StagedDirectory::commit(const fs::path& old) {
  HALFBACK_CHECK(fs::exists(staging_ / marker_), marker_);
  check_replaceable(target_, marker_);
  sync_tree(staging_);
  if (!old.empty()) {
    remove_tree(old);
  }
  swap_directories(staging_, target_, old);
  is_committed_ = true;
  remove_tree(staging_);
}

void StagedDirectory::discard(const fs::path& other) const {
  HALFBACK_CHECK(is_committed_, other.string());
  rename_path(other, staging_);
  remove_tree(staging_);
}

}  // namespace halfback
