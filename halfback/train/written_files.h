// Keeps track of which files of a directory a run has written, in a list beside them (report.json,
// in the form of checkpoint.json). A later run may replace these files and no others.
#pragma once

#include "halfback/checkpoint/manifest.h"

#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace halfback {

// All functions throw FileError if something cannot be read or written. Not thread-safe.
class WrittenFiles {
 public:
  // Reads the list of earlier runs. Throws if it was altered.
  explicit WrittenFiles(std::filesystem::path directory);

  // Returns the files that earlier runs have written and that are unaltered. While a run is in
  // progress, or after it was killed, growing files need only begin with what the list has.
  std::set<std::string> own() const;

  // Throws unless each of these names is unused or names an own file.
  void require_own(const std::vector<std::string>& names) const;

  // Deletes a file if it exists, after require_own() of its name.
  void remove(const std::string& name);

  // Writes a whole file, replacing an own one if there is one.
  void write(const std::string& name, std::string_view bytes);

  // Records what growing files contain so far; call it before they are made, at the latest.
  void note(const FileSummaries& files);

  // Records that they will not grow any more in this run, which has reached a step.
  void finish(const FileSummaries& files, std::int64_t step);

 private:
  void save();

  std::filesystem::path directory_;
  Manifest list_;  // step 0: files may grow
};

}  // namespace halfback
