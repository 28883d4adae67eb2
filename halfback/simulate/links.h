// The links that messages pass between two ranks. Internal to the simulator.
#pragma once

#include "halfback/schedule/numbering.h"
#include "halfback/simulate/cost_model.h"
#include "halfback/simulate/moment.h"

#include <cstddef>
#include <vector>

namespace halfback::detail {

template <bool Traces>
struct SimulatedLink {
  double latency = 0.0;
  double bandwidth = 0.0;
  Moment<Traces> free;
  std::vector<Moment<Traces>> received;  // by message, if the channel is bounded
  std::size_t num_sent = 0;
};

// Returns the link of each channel, with its own costs if it has any.
template <bool Traces>
std::vector<SimulatedLink<Traces>> make_links(const Channels& channels, const CostModel& costs) {
  std::vector<SimulatedLink<Traces>> links(
      static_cast<std::size_t>(channels.count()),
      {.latency = costs.latency, .bandwidth = costs.bandwidth, .free = {}, .received = {}});
  for (const LinkCost& cost : costs.links) {
    for (int channel = 0; channel < channels.count(); ++channel) {
      if (channels.from(channel) == cost.from && channels.to(channel) == cost.to) {
        SimulatedLink<Traces>& link = links[static_cast<std::size_t>(channel)];
        link.latency = cost.latency.value_or(link.latency);
        link.bandwidth = cost.bandwidth.value_or(link.bandwidth);
      }
    }
  }
  return links;
}

}  // namespace halfback::detail
