// halfback VERB ...: exit 0 success, 1 failure, 2 usage. Results go to stdout, errors to stderr as
// one line "error: ..."; a schedule's error has the lists around the spot beneath.
#pragma once

namespace halfback::cli {

// The whole program; returns its exit code.
int run_program(int argc, char** argv);

}  // namespace halfback::cli
