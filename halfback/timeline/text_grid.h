// A timeline as text: a row per rank, a column per unit of time.
//
//   F forward, B full backward, b input gradient, w weight gradient, u update, . idle
//   r reduction of gradients, in a line of its own below its rank, which continues meanwhile
//
// Messages are not drawn. All stages of a rank look the same.
#pragma once

#include "halfback/timeline/timeline.h"

#include <string>

namespace halfback {

struct TextGridOptions {
  int width = 80;             // longest line
  double unit_seconds = 0.0;  // time of a column; 0: that of the shortest action
};

// Draws a letter a column: what runs at the column's middle. If the timeline is wider than a line,
// columns stand for more time, and a last line says for how much. Lines end with a newline.
std::string draw_timeline(const Timeline& timeline, const TextGridOptions& options = {});

// Draws letters and micro-batch as in "F0", with the stage in front if a rank holds several;
// updates and reductions are "0U" and "0r"; "--" continues the action before. Cut at the width,
// with a last line that says after how many columns.
std::string draw_numbered_timeline(const Timeline& timeline, const TextGridOptions& options = {});

}  // namespace halfback
