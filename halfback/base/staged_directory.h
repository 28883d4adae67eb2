// Directories that are either whole or not there, such as checkpoints and exports.
//
// All functions throw FileError naming the path, what the system said and what to do.
#pragma once

#include <filesystem>
#include <string>

namespace halfback {

// A directory that appears, or replaces the one of its name, by commit(). Until then it lies
// beside it as TARGET.tmp.PID; without commit() it is removed. One process at a time may have one
// of a target.
//
// A target that is there already must be empty or hold a file called `marker`, so that a mistyped
// path does not cost somebody's files: commit() deletes all that the old directory holds.
class StagedDirectory {
 public:
  // Makes the staging directory, and the target's parents if needed. Removes those that processes
  // left which are dead now.
  StagedDirectory(const std::filesystem::path& target, std::string marker);
  ~StagedDirectory();
  StagedDirectory(const StagedDirectory&) = delete;
  StagedDirectory& operator=(const StagedDirectory&) = delete;

  // Where to write; holds nothing at first.
  const std::filesystem::path& path() const { return staging_; }

  // Brings everything to disk and puts the directory in place. The old one gets the path `old`,
  // where one that is there is replaced, or is deleted when that is empty. The marker must have
  // been written. The swap is atomic where the file system can exchange two names; elsewhere there
  // is no target for a moment, and the old directory has its new path already (TARGET.old.PID
  // without).
  void commit(const std::filesystem::path& old = {});

  // Deletes another directory on the file system of the target, after commit(). It is gone at once:
  // a process that dies meanwhile leaves no part of it under its name.
  void discard(const std::filesystem::path& other) const;

 private:
  std::filesystem::path target_;
  std::filesystem::path staging_;
  std::string marker_;
  bool is_committed_ = false;
};

}  // namespace halfback
