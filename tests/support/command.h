// Runs the command line binary and keeps what it said.
#pragma once

#include "tests/support/shell.h"

#include <string>

namespace halfback::testing {

// Runs "halfback ARGUMENTS" in a shell; HALFBACK_BINARY is the path of the binary. A crash of the
// binary inside a pipe shows in the output only.
inline CommandResult run_halfback(const std::string& arguments) {
  return run_command(std::string(HALFBACK_BINARY) + " " + arguments);
}

}  // namespace halfback::testing
