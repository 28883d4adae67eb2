// Directories that are either whole or not there, such as checkpoints and exports.
//
// All functions throw FileError naming the path, what the system said and what to do.
#pragma once

#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

namespace halfback {

// Returns the names of a directory's entries that may be deleted or replaced: those of which there
// is proof that the program wrote them. Without proof there are none.
using OwnEntries = std::function<std::set<std::string>(const std::filesystem::path& directory)>;

// A directory that appears, or replaces the one of its name, by commit(). Until then it lies
// beside it as TARGET.tmp.PID; without commit() it is removed. One process at a time may have one
// of a target.
//
// Nothing that is not our own is deleted. What others have put into the old directory moves on to
// the new one; an old directory with anything that cannot, since the new one has its name, is
// set aside whole, as TARGET.aside, TARGET.aside-2, ...
class StagedDirectory {
 public:
  // Makes the staging directory, and the target's parents if needed. Removes those that processes
  // left which are dead now. `marker` is the entry that is written last, and holds the proof.
  StagedDirectory(const std::filesystem::path& target, std::string marker, OwnEntries own);
  ~StagedDirectory();
  StagedDirectory(const StagedDirectory&) = delete;
  StagedDirectory& operator=(const StagedDirectory&) = delete;

  // Where to write; holds nothing but a sign, which commit() removes, that all here is ours.
  const std::filesystem::path& path() const { return staging_; }

  // Brings everything to disk and puts the directory in place. The old one gets the path `old`,
  // where one of ours that is there is replaced, or is deleted when that is empty. Returns what had
  // to be set aside, if anything. The marker must have been written. The swap is atomic where the
  // file system can exchange two names; elsewhere there is no target for a moment, and the old
  // directory has its new path already (TARGET.old.PID without).
  std::vector<std::filesystem::path> commit(const std::filesystem::path& old = {});

  // Deletes another directory on the file system of the target, after commit(), if all that it
  // holds is our own. It is gone at once: a process that dies meanwhile leaves no part of it under
  // its name.
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
