// Tables of a study, for people and as CSV.
#pragma once

#include <string>
#include <vector>

namespace halfback {

using TableColumn = std::vector<std::string>;  // its title first; all columns are as long

// Returns lines with aligned columns; columns without any entry are left out.
std::string aligned_text(std::vector<TableColumn> columns);

// Returns them as CSV, all columns included.
std::string csv_text(const std::vector<TableColumn>& columns);

// Returns a cell of CSV, in quotes where it would not be one otherwise.
std::string csv_cell(const std::string& text);

}  // namespace halfback
