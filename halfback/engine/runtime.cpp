#include "halfback/engine/runtime.h"

#include "halfback/engine/memory.h"

#include <algorithm>
#include <cstdlib>
#include <omp.h>
#include <sched.h>

namespace halfback {

void initialize_runtime() {
  static const bool is_done = [] {
    install_counting_allocator();
    // MKL reads this at its first call: best instructions, and one order of sums for any alignment.
    // For any number of threads it is not enough: kernels/one_mkl_thread.h.
    setenv("MKL_CBWR", "AUTO,STRICT", /*overwrite=*/0);
    // cuBLAS reads this likewise: products of several streams have one order of sums.
    setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
    // With an idle pool of this thread, libgomp would count more threads than cores, and the
    // threads of the ranks would sleep where they should spin: 70 times as many context switches.
    omp_set_num_threads(1);
    return true;
  }();
  static_cast<void>(is_done);
}

int num_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  return sched_getaffinity(0, sizeof(cores), &cores) == 0 ? std::max(1, CPU_COUNT(&cores)) : 1;
}

int threads_of_rank(int asked, int num_ranks) {
  return asked != 0 ? asked : std::max(1, num_cores() / num_ranks);
}

}  // namespace halfback
