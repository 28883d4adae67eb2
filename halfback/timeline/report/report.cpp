#include "halfback/timeline/report/report.h"

#include "halfback/base/page/page.h"
#include "halfback/schedule/action.h"
#include "halfback/timeline/report/colors.h"
#include "halfback/timeline/report/page.h"
#include "halfback/timeline/statistics.h"

#include <algorithm>
#include <limits>
#include <set>

namespace halfback {

namespace {

double first_start(const Timeline& timeline) {
  double first = std::numeric_limits<double>::infinity();
  for (const Span& span : timeline.spans) {
    first = std::min(first, span.start_seconds);
  }
  return timeline.spans.empty() ? 0.0 : first;
}

nlohmann::json spans_of(const Timeline& timeline, double origin) {
  nlohmann::json spans = nlohmann::json::array();
  for (const Span& span : timeline.spans) {
    spans.push_back({span.rank, to_string(span.action), span.action.stage, span.action.micro_batch,
                     letters(span.action.kind), span.start_seconds - origin,
                     span.end_seconds - origin});
  }
  return spans;
}

nlohmann::json memory_of(const ReportTrack& track, double origin) {
  nlohmann::json ranks = nlohmann::json::array();
  for (const std::vector<MemoryPoint>& curve : track.memory) {
    nlohmann::json& points = ranks.emplace_back(nlohmann::json::array());
    for (const MemoryPoint& point : curve) {
      points.push_back({point.seconds - origin, point.held});
    }
  }
  return ranks;
}

nlohmann::json to_json(const ReportTrack& track) {
  const double origin = first_start(track.timeline);
  const Statistics numbers = statistics(track.timeline);
  return {{"name", track.name},
          {"num_ranks", track.timeline.num_ranks},
          {"spans", spans_of(track.timeline, origin)},
          {"critical", track.critical},
          {"memory", memory_of(track, origin)},
          {"makespan", numbers.makespan_seconds},
          {"bubble_fraction", numbers.bubble_fraction},
          {"stage_step", numbers.stage_step_seconds},
          {"stage_step_bubble_fraction", numbers.stage_step_bubble_fraction},
          {"busy", numbers.busy_seconds},
          {"reduction", numbers.reduction_seconds},
          {"exposed_reduction", numbers.exposed_reduction_seconds}};
}

}  // namespace

nlohmann::json to_json(const Report& report) {
  nlohmann::json colors;
  for (const KindTraits& row : kKinds) {
    colors[std::string(row.letters)] = color_of(row.kind);
  }
  nlohmann::json tracks = nlohmann::json::array();
  for (const ReportTrack& track : report.tracks) {
    tracks.push_back(to_json(track));
  }
  nlohmann::json page = {{"title", report.title},         {"subtitle", report.subtitle},
                         {"time_unit", report.time_unit}, {"memory_unit", report.memory_unit},
                         {"colors", std::move(colors)},   {"tracks", std::move(tracks)}};
  for (const Chart& chart : report.charts) {
    page["charts"].push_back(to_json(chart));
  }
  return page;
}

std::string to_html(const Report& report) { return with_data(kReportPage, to_json(report)); }

std::vector<std::vector<MemoryPoint>> memory_curves(
    const Timeline& timeline, const std::vector<std::vector<std::int64_t>>& held) {
  std::vector<std::vector<MemoryPoint>> curves(static_cast<std::size_t>(timeline.num_ranks));
  for (const Span& span : timeline.spans) {
    const auto rank = static_cast<std::size_t>(span.rank);
    std::vector<MemoryPoint>& curve = curves[rank];
    if (curve.size() < held[rank].size()) {
      // A reduction does not delay its list, which continues where the reduction begins.
      const bool ends = span.action.kind != ActionKind::ReduceGradient;
      const double seconds = ends ? span.end_seconds : curve.empty() ? 0.0 : curve.back().seconds;
      curve.push_back({seconds, static_cast<double>(held[rank][curve.size()])});
    }
  }
  return curves;
}

std::vector<std::vector<MemoryPoint>> activation_curves(const Timeline& timeline, double share) {
  const auto ends_backward = [](const Span& span) {
    return span.action.kind == ActionKind::BackwardWeight ||
           span.action.kind == ActionKind::Backward;
  };
  std::set<int> trained;
  for (const Span& span : timeline.spans) {
    if (ends_backward(span)) {
      trained.insert(span.action.stage);
    }
  }
  std::vector<std::vector<MemoryPoint>> curves(static_cast<std::size_t>(timeline.num_ranks));
  for (const Span& span : timeline.spans) {
    std::vector<MemoryPoint>& curve = curves[static_cast<std::size_t>(span.rank)];
    const double held = curve.empty() ? 0.0 : curve.back().held;
    if (span.action.kind == ActionKind::Forward && trained.contains(span.action.stage)) {
      curve.push_back({span.start_seconds, held + share});
    } else if (ends_backward(span)) {
      curve.push_back({span.end_seconds, held - share});
    }
  }
  return curves;
}

}  // namespace halfback
