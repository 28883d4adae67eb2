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

// A directory that appears, or replaces the one of its name, by commit(). Until then it lies
// beside it as TARGET.tmp.PID; without commit() it is removed. Only one process at a time may have
// one for a target.
//
// It deletes only our own files. Files that others have put into the old directory move to the new
// one. If one of them cannot, since the new directory has its name, the whole old directory is set
// aside, as TARGET.aside, TARGET.aside-2, ...
class StagedDirectory {
 public:
  // Makes the staging directory, and the target's parents if needed. Removes staging directories of
  // dead processes. `marker` is the entry that is written last, and holds the proof.
  StagedDirectory(const std::filesystem::path& target, std::string marker, OwnEntries own);
  ~StagedDirectory();
  StagedDirectory(const StagedDirectory&) = delete;
  StagedDirectory& operator=(const StagedDirectory&) = delete;

  // Where to write. It holds only a mark that everything here is ours; commit() removes the mark.
  const std::filesystem::path& path() const { return staging_; }

  // Brings everything to disk and puts the directory in place. The old one moves to the path `old`,
  // and replaces one of ours there; without a path it is deleted. Returns what had to be set aside,
  // if anything. The marker must have been written. The swap is atomic if the file system can
  // exchange two names; if not, the target is absent for a moment, and the old directory is already
  // at its new path (TARGET.old.PID without one).
  std::vector<std::filesystem::path> commit(const std::filesystem::path& old = {});

  // Deletes another directory on the file system of the target, after commit(), if everything in it
  // is ours. The name disappears at once: a process that dies meanwhile leaves nothing under it.
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
