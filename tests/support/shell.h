// Runs a command and keeps what it said.
#pragma once

#include <array>
#include <cstdio>
#include <string>
#include <sys/wait.h>

namespace halfback::testing {

struct CommandResult {
  int exit_code = -1;  // -1: it ended by a signal
  std::string output;  // stdout, then stderr where asked for
};

// Runs a command in a shell.
inline CommandResult run_command(const std::string& command) {
  CommandResult result;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) {
    return result;
  }
  std::array<char, 4096> block{};
  std::size_t count = 0;
  while ((count = fread(block.data(), 1, block.size(), pipe)) > 0) {
    result.output.append(block.data(), count);
  }
  const int status = pclose(pipe);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return result;
}

}  // namespace halfback::testing
