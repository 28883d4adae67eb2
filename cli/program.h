// halfback VERB ...: exits with 0 for success, 1 for failure, 2 for usage. Results go to stdout,
// errors to stderr as one line "error: ..."; a schedule error also shows the lists around its place
// below.
#pragma once

namespace halfback::cli {

// The whole program; returns its exit code.
int run_program(int argc, char** argv);

}  // namespace halfback::cli
