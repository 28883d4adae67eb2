// How the loops of this folder share rows among threads.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>

namespace halfback::kernels {

inline constexpr std::int64_t kGrainElements = 16384;  // less is not worth a second thread

// Returns the minimum number of rows per thread.
inline std::int64_t grain_rows(std::int64_t row_elements) {
  return std::max<std::int64_t>(1, kGrainElements / std::max<std::int64_t>(1, row_elements));
}

// Calls visit(row) once for each row, on several threads, in any order.
template <typename Visit>
void for_each_row(std::int64_t num_rows, std::int64_t row_elements, const Visit& visit) {
  at::parallel_for(0, num_rows, grain_rows(row_elements), [&](auto begin, auto end) {
    for (std::int64_t row = begin; row < end; ++row) {
      visit(row);
    }
  });
}

}  // namespace halfback::kernels
