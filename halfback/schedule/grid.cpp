#include "halfback/schedule/grid.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace halfback {

namespace {

struct Range {
  int begin = 0;
  int end = 0;
};

// Returns `size` values around the center that lie in [0, count).
Range range_around(int center, int size, int count) {
  const int begin = std::clamp(center - size / 2, 0, std::max(0, count - size));
  return {begin, std::min(begin + size, count)};
}

int longest_list(const Schedule& schedule) {
  std::size_t longest = 0;
  for (const auto& list : schedule.ranks) {
    longest = std::max(longest, list.size());
  }
  return static_cast<int>(longest);
}

std::string cell_text(const Schedule& schedule, Position position) {
  const auto& list = schedule.ranks[static_cast<std::size_t>(position.rank)];
  const bool exists = static_cast<std::size_t>(position.index) < list.size();
  return exists ? to_string(action_at(schedule, position)) : std::string{};
}

int cell_width(const Schedule& schedule, Range rows, Range columns) {
  std::size_t width = fmt::format("{}", columns.end).size();
  for (int rank = rows.begin; rank < rows.end; ++rank) {
    for (int index = columns.begin; index < columns.end; ++index) {
      width = std::max(width, cell_text(schedule, {rank, index}).size());
    }
  }
  return static_cast<int>(width);
}

std::string trimmed_line(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line + '\n';
}

}  // namespace

std::string draw_lists(const Schedule& schedule, const ListWindow& window) {
  const Position center = window.marked.value_or(Position{});
  // One past the end is a column too: a fault may be that a list ends too early.
  const int num_columns = std::max(longest_list(schedule), center.index + 1);
  const Range rows = range_around(center.rank, window.num_rows, schedule.num_ranks());
  const Range columns = range_around(center.index, window.num_columns, num_columns);
  const int width = cell_width(schedule, rows, columns);
  std::string text = fmt::format("{:<10}", "position");
  for (int index = columns.begin; index < columns.end; ++index) {
    text += fmt::format(" {:<{}}", index, width);
  }
  text = trimmed_line(text);
  for (int rank = rows.begin; rank < rows.end; ++rank) {
    std::string line = fmt::format("rank {:<5}", rank);
    std::string carets(line.size(), ' ');
    for (int index = columns.begin; index < columns.end; ++index) {
      const std::string cell = cell_text(schedule, {rank, index});
      line += fmt::format(" {:<{}}", cell, width);
      const bool is_marked = window.marked == Position{rank, index};
      carets += fmt::format(" {:<{}}",
                            std::string(is_marked ? std::max<std::size_t>(cell.size(), 1) : 0, '^'),
                            width);
    }
    text += trimmed_line(line);
    if (window.marked && window.marked->rank == rank) {
      text += trimmed_line(carets);
    }
  }
  return text;
}

}  // namespace halfback
