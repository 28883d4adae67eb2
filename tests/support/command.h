// Runs the command line program and keeps what it said.
#pragma once

#include "tests/support/shell.h"

#include <string>

namespace halfback::testing {

// Runs "halfback ARGUMENTS" as a shell does; HALFBACK_BINARY is the path of the binary. Tests link
// one of two: started_command.cpp starts the binary each time, forked_command.cpp only where the
// other way would not do.
CommandResult run_halfback(const std::string& arguments);

}  // namespace halfback::testing
