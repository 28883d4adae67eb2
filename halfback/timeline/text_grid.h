// A timeline as text: a row per rank, a column per unit of time.
//
//   F forward, B full backward, b input gradient, w weight gradient, u update, . idle
//   r reduction of gradients, on its own line below its rank, which continues meanwhile
//
// Messages are not drawn. All stages of a rank look the same.
#pragma once

#include "halfback/timeline/timeline.h"

#include <string>

namespace halfback {

struct TextGridOptions {
  int width = 80;             // longest line
  double unit_seconds = 0.0;  // time of a column; 0: time of the shortest action
};

// Draws one letter per column: the action that runs at the column's middle. If the timeline is
// wider than a line, columns cover more time, and a last line says how much. Lines end with a
// newline.
std::string draw_timeline(const Timeline& timeline, const TextGridOptions& options = {});

// Draws letters and micro-batch as in "F0", with the stage in front if a rank holds several;
// updates and reductions are "0U" and "0r"; "--" continues the previous action. Lines are cut at
// the width, and a last line says after how many columns.
std::string draw_numbered_timeline(const Timeline& timeline, const TextGridOptions& options = {});

}  // namespace halfback
