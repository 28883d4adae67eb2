// Directories that are either whole or absent, such as checkpoints and exports.
//
// All functions throw FileError naming the path, what the system said and what to do.
#pragma once

#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

namespace halfback {

// Returns the names of a directory's entries that may be deleted or replaced: only those that the
// program provably wrote.
using OwnEntries = std::function<std::set<std::string>(const std::filesystem::path& directory)>;

// A directory that commit() puts in place, also over an old one. Until then it is TARGET.tmp.PID;
// without commit() it is removed. Only one process at a time may stage a target.
//
// It deletes only our own files. Files that others have put into the old directory move to the new
// one. If the new directory already has the name of one, the whole old directory is set aside as
// TARGET.aside, TARGET.aside-2, ...
class StagedDirectory {
 public:
  // Makes the staging directory, and the target's parents if needed. Removes staging directories of
  // dead processes. `marker` is the entry that is written last; it proves which entries are ours.
  StagedDirectory(const std::filesystem::path& target, std::string marker, OwnEntries own);
  ~StagedDirectory();
  StagedDirectory(const StagedDirectory&) = delete;
  StagedDirectory& operator=(const StagedDirectory&) = delete;

  // The directory to write to. At first it holds only a mark that everything in it is ours;
  // commit() removes the mark.
  const std::filesystem::path& path() const { return staging_; }

  // Syncs everything to disk and puts the directory in place. The old directory moves to `old`,
  // where it replaces one of ours; without that path it is deleted. Returns what was set aside, if
  // anything. The marker must have been written. The swap is atomic if the file system can exchange
  // two names; if not, the target is absent for a moment, and the old directory is already at its
  // new path (TARGET.old.PID without one).
  std::vector<std::filesystem::path> commit(const std::filesystem::path& old = {});

  // Deletes another directory on the file system of the target, after commit(), if everything in it
  // is ours. The name disappears at once: a process that dies meanwhile leaves nothing under that
  // name.
  void discard(const std::filesystem::path& other) const;

 private:
  bool is_all_own(const std::filesystem::path& directory) const;
  void remove_own(const std::filesystem::path& directory) const;
  void retire(const std::filesystem::path& directory,
              const std::filesystem::path& named_after,
              std::vector<std::filesystem::path>& aside) const;
  void remove_left_overs() const;

  std::filesystem::path target_;
  std::filesystem::path staging_;
  std::string marker_;
  OwnEntries own_;
  bool is_committed_ = false;
};

}  // namespace halfback
