#include "tests/support/command.h"

namespace halfback::testing {

CommandResult run_halfback(const std::string& arguments) {
  return run_command(std::string(HALFBACK_BINARY) + " " + arguments);
}

}  // namespace halfback::testing
