#include "halfback/engine/runtime.h"

#include "halfback/engine/memory.h"

#include <cstdlib>

namespace halfback {

void initialize_runtime() {
  install_counting_allocator();
  // Read by MKL at its first call: best instructions, and one order of sums for any thread count.
  static const int is_set = setenv("MKL_CBWR", "AUTO,STRICT", /*overwrite=*/0);
  static_cast<void>(is_set);
}

}  // namespace halfback
