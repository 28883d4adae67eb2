// The comment line "# halfback schedule ..." of csv.h: internal to the reader.
#pragma once

#include "halfback/schedule/schedule.h"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace halfback::detail {

// A fault in a line: where it begins, how long it is, and what is wrong.
struct CsvFault {
  std::size_t offset = 0;
  std::size_t length = 0;
  std::string what;
};

struct CsvHeader {
  std::optional<std::string> name;
  std::optional<int> num_micro_batches;
  std::optional<Placement> placement;  // without the replicas of micro-batches
  std::optional<std::vector<int>> replica_of_micro_batch;
  std::optional<std::vector<LossReach>> losses;
  std::optional<WeightRule> weight_rule;
};

// True for a comment line that is a header.
bool is_csv_header(std::string_view line);

// Adds the contents of a header line. Returns its first fault, such as a key given twice.
std::optional<CsvFault> read_csv_header(std::string_view line, CsvHeader& header);

// Returns the header line of a schedule, without the newline.
std::string csv_header_line(const Schedule& schedule);

}  // namespace halfback::detail
