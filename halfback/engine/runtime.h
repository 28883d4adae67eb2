// What a process sets up once, before its first tensor.
#pragma once

namespace halfback {

// Installs the counting allocator, asks the matrix library for results that do not depend on the
// number of threads, and lets the calling thread compute on itself alone, since ranks have threads
// of their own. Call it first in main; more calls do nothing. An MKL_CBWR that the user has set
// stays.
void initialize_runtime();

}  // namespace halfback
