#include "halfback/timeline/statistics.h"

#include "halfback/base/quantiles.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>
#include <utility>

namespace halfback {

double idle_fraction(const std::vector<double>& busy, double period) {
  const double sum = std::accumulate(busy.begin(), busy.end(), 0.0);
  const double available = period * static_cast<double>(busy.size());
  return available > 0.0 ? 1.0 - sum / available : 0.0;
}

namespace {

struct Interval {
  double start = 0.0;
  double end = 0.0;
};

// Returns the intervals in order of time, with those that touch joined.
std::vector<Interval> joined(std::vector<Interval> intervals) {
  std::sort(intervals.begin(), intervals.end(),
            [](const Interval& a, const Interval& b) { return a.start < b.start; });
  std::vector<Interval> result;
  for (const Interval& interval : intervals) {
    if (result.empty() || interval.start > result.back().end) {
      result.push_back(interval);
    } else {
      result.back().end = std::max(result.back().end, interval.end);
    }
  }
  return result;
}

double length_of(const std::vector<Interval>& intervals) {
  return std::accumulate(
      intervals.begin(), intervals.end(), 0.0,
      [](double sum, const Interval& interval) { return sum + (interval.end - interval.start); });
}

// Returns the length of the intersection of two results of joined().
double length_of_both(const std::vector<Interval>& first, const std::vector<Interval>& second) {
  double sum = 0.0;
  for (auto a = first.begin(), b = second.begin(); a != first.end() && b != second.end();) {
    sum += std::max(0.0, std::min(a->end, b->end) - std::max(a->start, b->start));
    a->end < b->end ? static_cast<void>(++a) : static_cast<void>(++b);
  }
  return sum;
}

void add_reductions(const Timeline& timeline, Statistics& result) {
  const auto num_ranks = static_cast<std::size_t>(timeline.num_ranks);
  std::vector<std::vector<Interval>> reductions(num_ranks);
  std::vector<std::vector<Interval>> work(num_ranks);
  for (const Span& span : timeline.spans) {
    const Interval interval{span.start_seconds, span.end_seconds};
    if (span.action.kind == ActionKind::ReduceGradient) {
      reductions[static_cast<std::size_t>(span.rank)].push_back(interval);
    } else if (is_work(span.action.kind)) {
      work[static_cast<std::size_t>(span.rank)].push_back(interval);
    }
  }
  for (std::size_t rank = 0; rank < num_ranks; ++rank) {
    const std::vector<Interval> own = joined(std::move(reductions[rank]));
    const double length = length_of(own);
    result.reduction_seconds.push_back(length);
    result.exposed_reduction_seconds.push_back(
        own.empty() ? 0.0 : length - length_of_both(own, joined(std::move(work[rank]))));
  }
}

}  // namespace

Statistics statistics(const Timeline& timeline) {
  Statistics result;
  result.busy_seconds.resize(static_cast<std::size_t>(timeline.num_ranks), 0.0);
  if (timeline.spans.empty()) {
    result.reduction_seconds = result.exposed_reduction_seconds = result.busy_seconds;
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
    if (is_work(span.action.kind)) {
      result.busy_seconds[rank] += span.end_seconds - span.start_seconds;
    }
  }
  for (const RankPeriod& period : periods) {
    result.stage_step_seconds = std::max(result.stage_step_seconds, period.length());
  }
  result.makespan_seconds = last - first;
  result.bubble_fraction = idle_fraction(result.busy_seconds, result.makespan_seconds);
  result.stage_step_bubble_fraction = idle_fraction(result.busy_seconds, result.stage_step_seconds);
  add_reductions(timeline, result);
  return result;
}

std::vector<ActionCost> median_costs(const Timeline& timeline, SpanClock clock) {
  std::map<std::tuple<int, ActionKind, bool>, std::vector<double>> durations;
  for (const Span& span : timeline.spans) {
    if (is_work(span.action.kind)) {
      durations[{span.action.stage, span.action.kind, span.action.loss == 1}].push_back(
          clock == SpanClock::ThreadCpu ? span.cpu_seconds : span.end_seconds - span.start_seconds);
    }
  }
  std::vector<ActionCost> costs;
  costs.reserve(durations.size());
  for (const auto& [key, values] : durations) {
    const auto& [stage, kind, is_of_own_loss] = key;
    costs.push_back({.stage = stage,
                     .kind = kind,
                     .is_of_own_loss = is_of_own_loss,
                     .count = static_cast<int>(values.size()),
                     .median_seconds = median(values),
                     .spread_seconds = quartile_spread(values)});
  }
  return costs;
}

double hidden_message_fraction(const Timeline& timeline) {
  double under_way = 0.0;
  for (const Link& link : timeline.links) {
    under_way += link.seconds;
  }
  double held = 0.0;
  for (const Span& span : timeline.spans) {
    held += is_send(span.action.kind) ? span.end_seconds - span.start_seconds : 0.0;
  }
  return under_way > 0.0 ? std::max(0.0, 1.0 - held / under_way) : 1.0;
}

}  // namespace halfback
