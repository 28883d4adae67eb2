// A time and, if causes are traced, the action whose end determined it. Internal to the simulator.
#pragma once

#include <cstdint>

namespace halfback::detail {

// The numbering runs through all lists, each followed by its rank's actions after the list.
using ActionNumber = std::int64_t;
inline constexpr ActionNumber kNoAction = -1;

template <bool Traces>
struct Moment {
  double time = 0.0;
  ActionNumber cause = kNoAction;

  Moment() = default;
  Moment(double at, ActionNumber because) : time(at), cause(because) {}
  ActionNumber known_cause() const { return cause; }
  Moment later_by(double duration) const { return {time + duration, cause}; }
};

template <>
struct Moment<false> {
  double time = 0.0;

  Moment() = default;
  Moment(double at, ActionNumber /*because*/) : time(at) {}
  ActionNumber known_cause() const { return kNoAction; }
  Moment later_by(double duration) const { return {time + duration, kNoAction}; }
};

template <bool Traces>
void wait_for(const Moment<Traces>& other, Moment<Traces>& moment) {
  if (other.time > moment.time) {
    moment = other;
  }
}

}  // namespace halfback::detail
