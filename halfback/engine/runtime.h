// What a process sets up once, before its first tensor.
#pragma once

namespace halfback {

// Installs the counting allocator, makes results of the matrix libraries independent of alignment
// and of the number of streams, and limits the calling thread to one compute thread, since ranks
// have their own. Call it first in main; further calls do nothing. MKL_CBWR and
// CUBLAS_WORKSPACE_CONFIG are not changed if the user has set them.
void initialize_runtime();

// Returns how many cores this process may use.
int num_cores();

// Returns how many threads each of `num_ranks` ranks gets: `asked`, or its share of the cores if
// `asked` is 0.
int threads_of_rank(int asked, int num_ranks);

}  // namespace halfback
