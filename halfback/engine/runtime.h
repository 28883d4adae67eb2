// What a process sets up once, before its first tensor.
#pragma once

namespace halfback {

// Installs the counting allocator, asks the matrix libraries for results that do not depend on the
// number of threads or streams, and lets the calling thread compute on itself alone, since ranks
// have threads of their own. Call it first in main; more calls do nothing. MKL_CBWR and
// CUBLAS_WORKSPACE_CONFIG that the user has set stay.
void initialize_runtime();

// Returns how many cores this process may use.
int num_cores();

// Returns how many threads each of so many ranks gets: what was asked for, or, for 0, its share of
// the cores.
int threads_of_rank(int asked, int num_ranks);

}  // namespace halfback
