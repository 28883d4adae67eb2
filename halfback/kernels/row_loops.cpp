#include "halfback/kernels/row_loops.h"

#include "halfback/kernels/vector_math.h"

#include <cmath>

// Sanitizers start after the loader has resolved the clones, so there is one plain version there.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define HALFBACK_FOR_EACH_CPU \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define HALFBACK_FOR_EACH_CPU
#endif

namespace halfback::kernels::rows {

namespace {

constexpr std::int64_t kBitsOfByte = 8;
constexpr std::int64_t kLanes = 16;  // running sums, so that a sum vectorizes without reordering

template <typename Real>
[[gnu::always_inline]] inline Real fold(Real (&lanes)[kLanes]) {
  for (std::int64_t width = kLanes / 2; width > 0; width /= 2) {
    for (std::int64_t lane = 0; lane < width; ++lane) {
      lanes[lane] += lanes[lane + width];
    }
  }
  return lanes[0];
}

template <typename Real, typename Term>
[[gnu::always_inline]] inline Real lane_sum(std::int64_t count, Term term) {
  Real lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] += term(i + lane);
    }
  }
  for (std::int64_t lane = 0; i + lane < count; ++lane) {
    lanes[lane] += term(i + lane);
  }
  return fold(lanes);
}

// Forward and backward use the same expression, so that they agree on what a ReLU lets through.
template <typename Real>
[[gnu::always_inline]] inline Real normalized(const NormChannel<Real>& channel, Real x) {
  return (x - channel.mean) * channel.scale + channel.bias;
}

template <typename Real>
[[gnu::always_inline]] inline Real passed(const NormChannel<Real>& channel, Real x, Real gradient) {
  return normalized(channel, x) <= Real{0} ? Real{0} : gradient;
}

}  // namespace

}  // namespace halfback::kernels::rows

// target_clones does not apply to templates, so the kernels are specializations in files that are
// included twice.
#define Real float
#include "halfback/kernels/norm_loop_bodies.h"
#include "halfback/kernels/row_loop_bodies.h"
#undef Real
#define Real double
#include "halfback/kernels/norm_loop_bodies.h"
#include "halfback/kernels/row_loop_bodies.h"
#undef Real
