// Which files of a directory a run has written: a list beside them (report.json, in the form of
// checkpoint.json), from which a later run knows what it may replace. Nothing else is replaced.
#pragma once

#include "halfback/checkpoint/manifest.h"

#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace halfback {

// All functions throw FileError when something cannot be read or written. Not thread-safe.
class WrittenFiles {
 public:
  // Reads the list of earlier runs. Throws when it is not as it was written.
  explicit WrittenFiles(std::filesystem::path directory);

  // Returns the files that earlier runs have written and that are as they left them. While a run is
  // under way, or when it was killed, those that grow only have to begin so.
  std::set<std::string> own() const;

  // Throws unless every one of these names is free or of an own file.
  void require_own(const std::vector<std::string>& names) const;

  // Deletes a file, if it is there, after require_own() of its name.
  void remove(const std::string& name);

  // Writes a whole file in place of an own one, if any.
  void write(const std::string& name, std::string_view bytes);

  // Notes what files that grow hold so far, before they are made at the latest.
  void note(const FileSummaries& files);

  // Notes that they will not grow any more in this run, which has come to a step.
  void finish(const FileSummaries& files, std::int64_t step);

 private:
  void save();

  std::filesystem::path directory_;
  Manifest list_;  // step 0: files may grow
};

}  // namespace halfback
