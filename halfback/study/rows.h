// The results of a study on disk: a JSON object a line, one for each run that has ended. The first
// line says which study it is. A row is there whole or not at all, whatever kills the program.
#pragma once

#include "halfback/base/file.h"
#include "halfback/study/study_file.h"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <set>
#include <vector>

namespace halfback {

class StudyRows {
 public:
  // Creates the file, or reads it and cuts off a row that was not finished. Throws FileError for
  // one that holds something else, and ConfigError, naming the key that differs, for another study.
  StudyRows(const std::filesystem::path& path, const Study& study);

  // In the order in which runs have ended. Each has its run under "run".
  const std::vector<nlohmann::json>& rows() const { return rows_; }
  bool has(int run) const { return runs_.contains(run); }

  // Writes a row to disk.
  void add(nlohmann::json row);

 private:
  std::vector<nlohmann::json> rows_;
  std::set<int> runs_;
  OutputFile file_;
};

// Returns the runs that have a row in a file of this study, without changing it; none if it is not
// there. Throws like StudyRows.
std::set<int> done_runs(const std::filesystem::path& path, const Study& study);

// Reads the rows of a file, without changing it. Throws FileError.
std::vector<nlohmann::json> load_rows(const std::filesystem::path& path);

// Returns what makes a study this one: "[grid] seed" and so on, with their values.
nlohmann::json description_of(const Study& study);

}  // namespace halfback
