#include "halfback/views/page.h"

#include "halfback/views/headline.h"

#include <string>
#include <utility>
#include <vector>

namespace halfback {

namespace {

double share_of(const Schedule& schedule) {
  return static_cast<double>(ranks_per_replica(schedule.placement)) / schedule.num_stages();
}

// The spans at positions of the lists. An update after a list has none.
std::vector<std::size_t> spans_at(const Timeline& timeline,
                                  const std::vector<Position>& positions) {
  std::vector<std::vector<std::size_t>> by_rank(static_cast<std::size_t>(timeline.num_ranks));
  for (std::size_t i = 0; i < timeline.spans.size(); ++i) {
    by_rank[static_cast<std::size_t>(timeline.spans[i].rank)].push_back(i);
  }
  std::vector<std::size_t> spans;
  for (const Position& position : positions) {
    const auto& list = by_rank[static_cast<std::size_t>(position.rank)];
    if (static_cast<std::size_t>(position.index) < list.size()) {
      spans.push_back(list[static_cast<std::size_t>(position.index)]);
    }
  }
  return spans;
}

std::vector<std::vector<MemoryPoint>> curves(const Timeline& timeline,
                                             const Schedule& schedule,
                                             const std::optional<MemoryModel>& memory) {
  return memory ? memory_curves(timeline, predict_memory(schedule, *memory).curve)
                : activation_curves(timeline, share_of(schedule));
}

std::string unit_of(const std::optional<MemoryModel>& memory) { return memory ? "bytes" : "M_B"; }

// How the schedule would run, with its critical path.
ReportTrack predicted_track(const Schedule& schedule,
                            const CostModel& costs,
                            const SimulateOptions& options) {
  ReportTrack track{.name = "predicted", .timeline = simulate(schedule, costs, options).timeline};
  track.critical = critical_spans(track.timeline, schedule, costs, options);
  return track;
}

}  // namespace

std::vector<std::size_t> critical_spans(const Timeline& timeline,
                                        const Schedule& schedule,
                                        const CostModel& costs,
                                        const SimulateOptions& options) {
  return spans_at(timeline, critical_path(schedule, costs, options));
}

Report simulated_page(const Schedule& schedule,
                      const CostModel& costs,
                      const SimulateOptions& options,
                      const std::optional<MemoryModel>& memory) {
  ReportTrack track = predicted_track(schedule, costs, options);
  track.memory = curves(track.timeline, schedule, memory);
  return {.title = schedule.name,
          .subtitle = headline(schedule),
          .memory_unit = unit_of(memory),
          .tracks = {std::move(track)}};
}

Report measured_page(const Schedule& schedule,
                     const Timeline& measured,
                     const std::optional<MemoryModel>& memory) {
  CostModel costs;
  costs.stages.assign(static_cast<std::size_t>(schedule.num_stages()), StageCost{0.0, 0.0, 0.0});
  take_measured_costs(costs, measured, SpanClock::Wall);
  ReportTrack predicted = predicted_track(schedule, costs, {.validates = false});
  ReportTrack ran{.name = "measured", .timeline = measured};
  for (ReportTrack* const track : {&predicted, &ran}) {
    track->memory = curves(track->timeline, schedule, memory);
  }
  return {.title = schedule.name,
          .subtitle = headline(schedule) +
                      "; the last step, above it the prediction from the medians of its actions",
          .time_unit = "s",
          .memory_unit = unit_of(memory),
          .tracks = {std::move(predicted), std::move(ran)}};
}

}  // namespace halfback
