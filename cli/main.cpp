#include "cli/program.h"

#include <cstdio>
#include <cstdlib>
#include <iostream>

int main(int argc, char** argv) {
  const int code = halfback::cli::run_program(argc, argv);
#ifdef __SANITIZE_ADDRESS__
  return code;  // leaks are checked after the destructors
#else
  // Skips the destructors of libtorch's globals, which take half of a short run.
  std::cout.flush();
  std::fflush(nullptr);
  std::quick_exit(code);
#endif
}
