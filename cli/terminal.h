// Colors for people at a terminal, and for nobody else.
#pragma once

#include <string>

namespace halfback::cli {

// Returns a text grid with a background color for each action, as in the pictures, if standard
// output is a terminal and NO_COLOR is not set; else the grid itself. Only lines that begin with
// "rank" change.
std::string for_terminal(const std::string& grid);

// The same, whatever standard output is.
std::string colored(const std::string& grid);

}  // namespace halfback::cli
