// The directories and files that a command line names: which may lie in each other.
#pragma once

#include <string>

namespace halfback::cli {

// Paths as they were given; "" for none.
struct Places {
  std::string checkpoint;
  std::string report;
  std::string log_directory;
  std::string data;
  std::string initial;
};

// Throws ConfigError naming two of the options when what one of them names would be written over,
// or lost, by what is written at the other. Links are followed.
void require_apart(const Places& places);

}  // namespace halfback::cli
