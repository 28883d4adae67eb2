#include "halfback/views/findings.h"

#include "halfback/schedule/validate.h"
#include "halfback/simulate/held_peaks.h"
#include "halfback/simulate/simulator.h"

#include <algorithm>

namespace halfback {

ChannelFindings find_channels(const Schedule& schedule) {
  const auto runs = [&](ChannelRule rule) { return dry_run(schedule, rule).finished; };
  ChannelFindings findings{.runs_nccl = runs(kNccl), .runs_nccl_pair = runs(kNcclPair)};
  if (runs(kBuffered)) {
    findings.smallest_capacity = smallest_channel_capacity(schedule);
  }
  return findings;
}

std::int64_t count_sends(const Schedule& schedule) {
  std::int64_t count = 0;
  for (const auto& list : schedule.ranks) {
    count += std::count_if(list.begin(), list.end(),
                           [](const Action& action) { return is_send(action.kind); });
  }
  return count;
}

double most_activations_held(const Schedule& schedule) {
  const std::vector<double> peaks = activation_peaks(schedule);
  return *std::max_element(peaks.begin(), peaks.end());
}

TorchFindings find_for_torch(const Schedule& schedule, std::string_view text) {
  CostModel costs = uniform_costs({}, schedule);
  const double step = simulate(schedule, costs, {.validates = false}).makespan;
  costs.stages.resize(static_cast<std::size_t>(schedule.num_stages()), costs.stages.front());
  StageCost& first = costs.stages.front();
  first.weight += first.input;
  first.input = 0.0;
  return {.faults = check_for_torch(schedule, text),
          .step = step,
          .step_there = simulate(schedule, costs, {.validates = false}).makespan};
}

std::string_view name_of(TorchFinding::Kind kind) {
  return kind == TorchFinding::Kind::Refused ? "refused" : "wrong";
}

}  // namespace halfback
