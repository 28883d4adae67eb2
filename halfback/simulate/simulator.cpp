#include "halfback/simulate/simulator.h"

#include "halfback/schedule/dataflow.h"
#include "halfback/schedule/dry_run.h"
#include "halfback/schedule/validate.h"
#include "halfback/timeline/statistics.h"

#include <algorithm>
#include <optional>

namespace halfback {

namespace {

bool is_input_gradient(ActionKind kind) {
  return kind == ActionKind::Backward || kind == ActionKind::BackwardInput;
}

// Sets times in the order of a dry run, in which everything comes after what it waits for.
class Clock {
 public:
  Clock(const Schedule& schedule, const Durations& durations, double latency)
      : schedule_(schedule),
        durations_(durations),
        latency_(latency),
        with_messages_(has_messages(schedule)),
        rank_free_(schedule.ranks.size(), 0.0),
        spans_(schedule.ranks.size()) {
    const auto size = static_cast<std::size_t>(schedule.num_stages()) *
                      static_cast<std::size_t>(schedule.num_micro_batches);
    activation_ready_.resize(size, 0.0);
    gradient_ready_.resize(size, 0.0);
  }

  void run(Position position) {
    const Action& action = action_at(schedule_, position);
    const auto rank = static_cast<std::size_t>(position.rank);
    double& free = rank_free_[rank];
    double start = free;
    if (!is_message(action.kind)) {
      start = std::max(free, arrival(action));
    }
    double end = start + durations_(action);
    if (is_receive(action.kind)) {
      end = std::max(start, ready(counterpart(action)) + latency_);
    }
    publish(action, end);
    free = end;
    spans_[rank].push_back(
        {position.rank, action, start, end, is_message(action.kind) ? 0.0 : end - start});
  }

  Timeline take_timeline() {
    Timeline timeline{.num_ranks = schedule_.num_ranks(), .spans = {}};
    timeline.spans.reserve(static_cast<std::size_t>(num_actions(schedule_)));
    for (const auto& spans : spans_) {
      timeline.spans.insert(timeline.spans.end(), spans.begin(), spans.end());
    }
    return timeline;
  }

 private:
  // When the tensor of an F or SEND_F, else of an I, B or SEND_B, is ready on its rank.
  double& ready(const Action& action) {
    const bool is_activation =
        action.kind == ActionKind::Forward || action.kind == ActionKind::SendForward;
    return (is_activation
                ? activation_ready_
                : gradient_ready_)[static_cast<std::size_t>(action.stage) *
                                       static_cast<std::size_t>(schedule_.num_micro_batches) +
                                   static_cast<std::size_t>(action.micro_batch)];
  }

  double arrival(const Action& action) {
    const auto source = taken_from(schedule_.placement, action);
    if (!source) {
      return 0.0;
    }
    const bool crosses =
        schedule_.placement.rank_of(*source) != schedule_.placement.rank_of(action);
    // Across ranks, the receive before this action has already waited.
    if (crosses && with_messages_) {
      return 0.0;
    }
    return ready(*source) + (crosses ? latency_ : 0.0);
  }

  void publish(const Action& action, double end) {
    if (action.kind == ActionKind::Forward || is_input_gradient(action.kind) ||
        is_send(action.kind)) {
      ready(action) = end;
    }
  }

  const Schedule& schedule_;
  const Durations& durations_;
  double latency_;
  bool with_messages_;
  std::vector<double> rank_free_;
  std::vector<double> activation_ready_;  // by stage and micro-batch
  std::vector<double> gradient_ready_;
  std::vector<std::vector<Span>> spans_;
};

HeldPeaks list_peaks(const std::vector<Action>& list) {
  HeldPeaks held;
  HeldPeaks peaks;
  for (const Action& action : list) {
    if (action.kind == ActionKind::Forward) {
      ++held.until_input;
      ++held.until_weight;
    } else if (is_input_gradient(action.kind)) {
      --held.until_input;
      held.until_weight -= action.kind == ActionKind::Backward ? 1 : 0;
      held.gradients += action.kind == ActionKind::BackwardInput ? 1 : 0;
    } else if (action.kind == ActionKind::BackwardWeight) {
      --held.until_weight;
      --held.gradients;
    }
    peaks.until_input = std::max(peaks.until_input, held.until_input);
    peaks.until_weight = std::max(peaks.until_weight, held.until_weight);
    peaks.gradients = std::max(peaks.gradients, held.gradients);
  }
  return peaks;
}

}  // namespace

std::vector<HeldPeaks> held_peaks(const Schedule& schedule) {
  std::vector<HeldPeaks> peaks;
  peaks.reserve(schedule.ranks.size());
  for (const auto& list : schedule.ranks) {
    peaks.push_back(list_peaks(list));
  }
  return peaks;
}

SimulationResult simulate(const Schedule& schedule, const CostModel& costs) {
  costs.check(schedule.num_stages());
  return simulate(
      schedule,
      [&costs](const Action& action) { return costs.stage(action.stage).of(action.kind); },
      costs.latency);
}

SimulationResult simulate(const Schedule& schedule, const Durations& durations, double latency) {
  validate(schedule);
  Clock clock(schedule, durations, latency);
  dry_run(schedule, kBuffered, [&](Position position) { clock.run(position); });
  SimulationResult result;
  result.timeline = clock.take_timeline();
  Statistics sums = statistics(result.timeline);
  result.makespan = sums.makespan_seconds;
  result.bubble_fraction = sums.bubble_fraction;
  result.busy = std::move(sums.busy_seconds);
  result.held = held_peaks(schedule);
  return result;
}

}  // namespace halfback
