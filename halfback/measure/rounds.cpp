#include "halfback/measure/rounds.h"

#include "halfback/base/option.h"

namespace halfback {

void check(const Rounds& rounds) {
  require_option(rounds.num_measured >= 1, "rounds", rounds.num_measured, "1 or more");
  require_option(rounds.num_warmup >= 0, "warmup-rounds", rounds.num_warmup, "0 or more");
}

}  // namespace halfback
