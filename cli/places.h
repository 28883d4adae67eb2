// The directories and files that a command line names, and which of them may contain each other.
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

// Throws ConfigError naming two options if what is written at one would overwrite or lose what the
// other names. Links are followed.
void require_apart(const Places& places);

}  // namespace halfback::cli
