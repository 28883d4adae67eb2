// Functions of one number that vectorize inside a loop. For sources that the compiler builds for
// several instruction sets, such as row_loops.cpp. For double they call the standard library.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace halfback::kernels::rows {

// e^x within 2 units in the last place: x = n ln 2 + r, a polynomial for e^r, with n added to the
// exponent. Clamped if float has no normal result.
[[gnu::always_inline]] inline float exponential(float x) {
  constexpr float kLog2E = 1.44269504088896341F;
  // ln 2 = high + low. High has so few bits that n times it is exact.
  constexpr float kLn2High = 0.693359375F;
  constexpr float kLn2Low = -2.12194440e-4F;
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  const float clamped = std::min(std::max(x, -87.0F), 88.0F);
  const float shifted = clamped * kLog2E + kRound;
  const float n = shifted - kRound;
  const float r = (clamped - n * kLn2High) - n * kLn2Low;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  // Multiplies, because adding bits could turn a NaN into a number.
  constexpr std::uint32_t kOne = 0x3f800000U;
  return p * std::bit_cast<float>((std::bit_cast<std::uint32_t>(shifted) << 23) + kOne);
}

[[gnu::always_inline]] inline double exponential(double x) { return std::exp(x); }

// log(1 + u) for u in [0, 1] within 3 units in the last place: 2 artanh(u / (2 + u)).
[[gnu::always_inline]] inline float log_one_plus(float u) {
  const float s = u / (2.0F + u);
  const float q = s * s;
  float p = 1.0F / 15.0F;
  p = p * q + 1.0F / 13.0F;
  p = p * q + 1.0F / 11.0F;
  p = p * q + 1.0F / 9.0F;
  p = p * q + 1.0F / 7.0F;
  p = p * q + 1.0F / 5.0F;
  p = p * q + 1.0F / 3.0F;
  return 2.0F * (s + s * q * p);
}

[[gnu::always_inline]] inline double log_one_plus(double u) { return std::log1p(u); }

template <typename Real>
[[gnu::always_inline]] inline Real logistic(Real x) {
  return Real{1} / (Real{1} + exponential(-x));
}

// log(1 + e^x).
template <typename Real>
[[gnu::always_inline]] inline Real softplus(Real x) {
  return std::max(x, Real{0}) + log_one_plus(exponential(x < Real{0} ? x : -x));
}

}  // namespace halfback::kernels::rows
