// What a process sets up once, before its first tensor.
#pragma once

namespace halfback {

// Installs the counting allocator, asks the matrix libraries for results that do not depend on the
// number of threads or streams, and lets the calling thread compute on itself alone, since ranks
// have threads of their own. Call it first in main; more calls do nothing. MKL_CBWR and
// CUBLAS_WORKSPACE_CONFIG that the user has set stay.
void initialize_runtime();

}  // namespace halfback
