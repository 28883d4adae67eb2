#include "halfback/timeline/statistics.h"

#include "halfback/base/quantiles.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

namespace halfback {

double idle_fraction(const std::vector<double>& busy, double period) {
  const double sum = std::accumulate(busy.begin(), busy.end(), 0.0);
  const double available = period * static_cast<double>(busy.size());
  return available > 0.0 ? 1.0 - sum / available : 0.0;
}

Statistics statistics(const Timeline& timeline) {
  Statistics result;
  result.busy_seconds.resize(static_cast<std::size_t>(timeline.num_ranks), 0.0);
  if (timeline.spans.empty()) {
    return result;
  }
  std::vector<RankPeriod> periods(result.busy_seconds.size());
  double first = timeline.spans.front().start_seconds;
  double last = timeline.spans.front().end_seconds;
  for (const Span& span : timeline.spans) {
    first = std::min(first, span.start_seconds);
    last = std::max(last, span.end_seconds);
    const auto rank = static_cast<std::size_t>(span.rank);
    periods[rank].add(span.action.kind, span.start_seconds, span.end_seconds);
    if (!is_message(span.action.kind)) {
      result.busy_seconds[rank] += span.end_seconds - span.start_seconds;
    }
  }
  for (const RankPeriod& period : periods) {
    result.stage_step_seconds = std::max(result.stage_step_seconds, period.length());
  }
  result.makespan_seconds = last - first;
  result.bubble_fraction = idle_fraction(result.busy_seconds, result.makespan_seconds);
  result.stage_step_bubble_fraction = idle_fraction(result.busy_seconds, result.stage_step_seconds);
  return result;
}

std::vector<ActionCost> median_costs(const Timeline& timeline, SpanClock clock) {
  std::map<std::pair<int, ActionKind>, std::vector<double>> durations;
  for (const Span& span : timeline.spans) {
    if (!is_message(span.action.kind)) {
      durations[{span.action.stage, span.action.kind}].push_back(
          clock == SpanClock::ThreadCpu ? span.cpu_seconds : span.end_seconds - span.start_seconds);
    }
  }
  std::vector<ActionCost> costs;
  costs.reserve(durations.size());
  for (const auto& [key, values] : durations) {
    costs.push_back({.stage = key.first,
                     .kind = key.second,
                     .count = static_cast<int>(values.size()),
                     .median_seconds = median(values),
                     .spread_seconds = quartile_spread(values)});
  }
  return costs;
}

}  // namespace halfback
