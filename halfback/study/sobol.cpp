#include "halfback/study/sobol.h"

#include "halfback/base/error.h"
#include "halfback/base/keyed_random.h"

#include <array>
#include <cstddef>

namespace halfback {

namespace {

constexpr int kNumBits = 32;

using Directions = std::array<std::uint32_t, kNumBits>;

// A primitive polynomial over GF(2) and the first direction numbers of its dimension.
struct Polynomial {
  int degree;
  std::uint32_t coefficients;  // without the first and the last, which are 1
  std::array<std::uint32_t, 6> first;
};

// Of dimensions 1 to 15; dimension 0 has no polynomial.
constexpr std::array<Polynomial, kMaxSobolDimensions - 1> kPolynomials = {
    Polynomial{1, 0, {1}},
    {2, 1, {1, 3}},
    {3, 1, {1, 3, 1}},
    {3, 2, {1, 1, 1}},
    {4, 1, {1, 1, 3, 3}},
    {4, 4, {1, 3, 5, 13}},
    {5, 2, {1, 1, 5, 5, 17}},
    {5, 4, {1, 1, 5, 5, 5}},
    {5, 7, {1, 1, 7, 11, 19}},
    {5, 11, {1, 1, 5, 1, 1}},
    {5, 13, {1, 1, 1, 3, 11}},
    {5, 14, {1, 3, 5, 5, 31}},
    {6, 1, {1, 3, 3, 9, 7, 49}},
    {6, 13, {1, 1, 1, 15, 21, 21}},
    {6, 16, {1, 3, 1, 13, 27, 49}},
};

Directions directions_of(int dimension) {
  Directions directions{};
  if (dimension == 0) {
    for (int bit = 0; bit < kNumBits; ++bit) {
      directions[static_cast<std::size_t>(bit)] = 1U << (kNumBits - 1 - bit);
    }
    return directions;
  }
  const Polynomial& polynomial = kPolynomials[static_cast<std::size_t>(dimension - 1)];
  const auto degree = static_cast<std::size_t>(polynomial.degree);
  for (std::size_t bit = 0; bit < directions.size(); ++bit) {
    if (bit < degree) {
      directions[bit] = polynomial.first[bit] << (kNumBits - 1 - bit);
      continue;
    }
    std::uint32_t value = directions[bit - degree] ^ (directions[bit - degree] >> degree);
    for (std::size_t k = 1; k < degree; ++k) {
      if ((polynomial.coefficients >> (degree - 1 - k) & 1U) != 0) {
        value ^= directions[bit - k];
      }
    }
    directions[bit] = value;
  }
  return directions;
}

const Directions& directions(int dimension) {
  static const auto kAll = [] {
    std::array<Directions, kMaxSobolDimensions> tables{};
    for (int i = 0; i < kMaxSobolDimensions; ++i) {
      tables[static_cast<std::size_t>(i)] = directions_of(i);
    }
    return tables;
  }();
  return kAll[static_cast<std::size_t>(dimension)];
}

// Returns a coordinate as the binary digits behind the point.
std::uint32_t digits(std::uint32_t index, int dimension) {
  const std::uint32_t gray = index ^ (index >> 1U);
  std::uint32_t result = 0;
  for (std::size_t bit = 0; bit < kNumBits; ++bit) {
    if ((gray >> bit & 1U) != 0) {
      result ^= directions(dimension)[bit];
    }
  }
  return result;
}

// Each digit flips or not, as the digits in front of it say.
std::uint32_t scrambled(std::uint32_t digits, std::uint64_t key, int dimension) {
  std::uint32_t result = digits;
  for (std::uint32_t place = 0; place < kNumBits; ++place) {
    const std::uint64_t in_front = std::uint64_t{digits} >> (kNumBits - place);
    const std::uint64_t hash = keyed_hash(
        Purpose::SobolDigit, {key, static_cast<std::uint64_t>(dimension), place, in_front});
    result ^= static_cast<std::uint32_t>(hash & 1U) << (kNumBits - 1 - place);
  }
  return result;
}

template <typename Digits>
std::vector<double> point(int num_dimensions, Digits digits_of) {
  HALFBACK_CHECK(num_dimensions >= 0 && num_dimensions <= kMaxSobolDimensions,
                 "the table has fewer dimensions");
  std::vector<double> coordinates;
  coordinates.reserve(static_cast<std::size_t>(num_dimensions));
  for (int dimension = 0; dimension < num_dimensions; ++dimension) {
    coordinates.push_back(digits_of(dimension) * 0x1p-32);
  }
  return coordinates;
}

}  // namespace

std::vector<double> sobol_point(std::uint32_t index, int num_dimensions) {
  return point(num_dimensions, [&](int dimension) { return digits(index, dimension); });
}

std::vector<double> scrambled_sobol_point(std::uint32_t index,
                                          int num_dimensions,
                                          std::uint64_t key) {
  return point(num_dimensions,
               [&](int dimension) { return scrambled(digits(index, dimension), key, dimension); });
}

}  // namespace halfback
