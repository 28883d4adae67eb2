// The lists of a schedule as text, one row per rank and one column per position. Times are not
// drawn: that is timeline/text_grid.h.
#pragma once

#include "halfback/schedule/schedule.h"

#include <optional>
#include <string>

namespace halfback {

struct ListWindow {
  std::optional<Position> marked;  // centered, with carets beneath
  int num_columns = 9;
  int num_rows = 5;
};

// Draws the window around the marked position, or the first rows and columns. Each line ends with
// a newline. Positions are those of the lists; cells of one column may run at different times.
std::string draw_lists(const Schedule& schedule, const ListWindow& window);

}  // namespace halfback
