// A number of threads for a while.
#pragma once

#include <ATen/Parallel.h>

namespace halfback {

// Runs ATen on this many threads while it lives.
class Threads {
 public:
  explicit Threads(int count) : previous_(at::get_num_threads()) { at::set_num_threads(count); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  ~Threads() { at::set_num_threads(previous_); }

 private:
  int previous_;
};

}  // namespace halfback
