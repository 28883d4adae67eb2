// Sobol points: few of them fill a cube evenly, so that a handful of trials covers ranges of
// several options. Each point is a function of its index and the key alone.
//
// Direction numbers: Joe, Kuo, "Constructing Sobol sequences with better two-dimensional
// projections", SIAM J. Sci. Comput. 30, 2008. Order of the points: Antonov, Saleev, "An economic
// method of computing LP-tau sequences", USSR Comput. Math. Math. Phys. 19, 1979. Scrambling: Owen,
// "Randomly permuted (t,m,s)-nets and (t,s)-sequences", 1995; it keeps what makes the points even,
// and moves each as if it had been drawn.
#pragma once

#include <cstdint>
#include <vector>

namespace halfback {

inline constexpr int kMaxSobolDimensions = 16;

// Returns point `index` of the sequence in [0, 1)^num_dimensions. There are 2^32 points and up to
// kMaxSobolDimensions dimensions.
std::vector<double> sobol_point(std::uint32_t index, int num_dimensions);

// Returns the same point scrambled by a key.
std::vector<double> scrambled_sobol_point(std::uint32_t index,
                                          int num_dimensions,
                                          std::uint64_t key);

}  // namespace halfback
