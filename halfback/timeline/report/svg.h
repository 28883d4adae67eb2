// A timeline as a drawing.
#pragma once

#include "halfback/timeline/timeline.h"

#include <string>

namespace halfback {

// Returns one track as a drawing for papers, `width` pixels wide: one row per rank, with the
// micro-batch in each action that has room for it.
std::string to_svg(const Timeline& timeline, const std::string& title, int width = 960);

}  // namespace halfback
