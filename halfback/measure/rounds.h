// How often something is measured.
#pragma once

#include <cstdint>
#include <functional>

namespace halfback {

struct Rounds {
  std::int64_t num_measured = 10;
  std::int64_t num_warmup = 2;  // before those, not counted

  std::int64_t total() const { return num_warmup + num_measured; }
};

// Throws ConfigError for fewer than one measured round.
void check(const Rounds& rounds);

// Called after every round with the number done and the total number.
using OnRound = std::function<void(std::int64_t, std::int64_t)>;

}  // namespace halfback
