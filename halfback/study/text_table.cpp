#include "halfback/study/text_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>

namespace halfback {

namespace {

bool is_empty(const TableColumn& column) {
  return std::all_of(column.begin() + 1, column.end(),
                     [](const auto& cell) { return cell.empty(); });
}

}  // namespace

std::string aligned_text(std::vector<TableColumn> columns) {
  std::erase_if(columns, is_empty);
  std::string text;
  for (std::size_t row = 0; !columns.empty() && row < columns.front().size(); ++row) {
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const std::size_t width = std::ranges::max(columns[i], {}, &std::string::size).size();
      const bool is_last = i + 1 == columns.size();
      text += fmt::format("{:<{}}{}", columns[i][row], is_last ? 0 : width, is_last ? "" : "  ");
    }
    text.erase(text.find_last_not_of(' ') + 1);
    text += '\n';
  }
  return text;
}

std::string csv_text(const std::vector<TableColumn>& columns) {
  std::string text;
  for (std::size_t row = 0; !columns.empty() && row < columns.front().size(); ++row) {
    for (std::size_t i = 0; i < columns.size(); ++i) {
      text += (i == 0 ? "" : ",") + csv_cell(columns[i][row]);
    }
    text += '\n';
  }
  return text;
}

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) {
    return text;
  }
  std::string quoted = "\"";
  for (const char c : text) {
    quoted += c == '"' ? "\"\"" : std::string(1, c);
  }
  return quoted + '"';
}

}  // namespace halfback
