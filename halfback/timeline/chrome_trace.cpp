#include "halfback/timeline/chrome_trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <vector>

namespace halfback {

namespace {

// Assigns spans to tracks so that the spans of a track do not overlap. Track 0 of a rank has its
// list, the others its concurrent reductions.
class Tracks {
 public:
  explicit Tracks(const Timeline& timeline)
      : ends_(static_cast<std::size_t>(timeline.num_ranks), std::vector<double>(1)) {
    for (const Span& span : timeline.spans) {
      track_of_span_.push_back(take(span));
    }
  }

  bool has_reductions() const {
    return std::any_of(ends_.begin(), ends_.end(),
                       [](const std::vector<double>& ends) { return ends.size() > 1; });
  }
  int num_tracks(int rank) const { return static_cast<int>(ends_of(rank).size()); }
  // Tracks are threads of the trace: the first num_ranks are those of the lists.
  int thread(int rank, int track) const { return rank + track * static_cast<int>(ends_.size()); }
  int thread_of(const Span& span, std::size_t index) const {
    return thread(span.rank, track_of_span_[index]);
  }

 private:
  const std::vector<double>& ends_of(int rank) const {
    return ends_[static_cast<std::size_t>(rank)];
  }

  int take(const Span& span) {
    if (span.action.kind != ActionKind::ReduceGradient) {
      return 0;
    }
    std::vector<double>& ends = ends_[static_cast<std::size_t>(span.rank)];
    auto free = std::find_if(ends.begin() + 1, ends.end(),
                             [&](double end) { return end <= span.start_seconds; });
    if (free == ends.end()) {
      free = ends.insert(free, 0.0);
    }
    *free = span.end_seconds;
    return static_cast<int>(free - ends.begin());
  }

  std::vector<std::vector<double>> ends_;  // by rank and track
  std::vector<int> track_of_span_;
};

// Viewers count whole nanoseconds. Rounding both ends keeps adjacent spans from overlapping;
// rounding a start and a length separately does not.
double to_nanoseconds(double seconds) { return std::round(seconds * 1e9); }

// Returns microseconds, exactly.
std::string microseconds_text(double nanoseconds) {
  std::string text = fmt::format("{:04.0f}", nanoseconds);
  return text.insert(text.size() - 3, 1, '.');
}

// In the field that viewers show for the whole trace.
std::string links_of(const Timeline& timeline) {
  std::string text;
  for (const Link& link : timeline.links) {
    fmt::format_to(std::back_inserter(text),
                   "{}\"rank {} to {}\":\"{} messages, {} bytes, {:.3f} ms under way\"",
                   text.empty() ? ",\n\"otherData\":{" : ",", link.from, link.to, link.messages,
                   link.bytes, 1e3 * link.seconds);
  }
  return text.empty() ? text : text + "}";
}

}  // namespace

std::string to_chrome_trace(const Timeline& timeline) {
  const Tracks tracks(timeline);
  std::string text = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[";
  const char* separator = "\n";
  const auto append_metadata = [&](const char* name, int thread, const std::string& value) {
    fmt::format_to(std::back_inserter(text),
                   "{}{{\"ph\":\"M\",\"name\":\"{}\",\"pid\":0,\"tid\":{},\"args\":{{{}}}}}",
                   separator, name, thread, value);
    separator = ",\n";
  };
  int place = 0;
  for (int rank = 0; rank < timeline.num_ranks; ++rank) {
    for (int track = 0; track < tracks.num_tracks(rank); ++track) {
      const int thread = tracks.thread(rank, track);
      append_metadata("thread_name", thread,
                      fmt::format("\"name\":\"rank {}{}\"", rank, track > 0 ? " reductions" : ""));
      if (tracks.has_reductions()) {  // otherwise the thread number orders them
        append_metadata("thread_sort_index", thread, fmt::format("\"sort_index\":{}", place++));
      }
    }
  }
  // Ranks of other processes may begin before the one whose clock counts.
  double origin = 0.0;
  for (const Span& span : timeline.spans) {
    origin = std::min(origin, span.start_seconds);
  }
  for (std::size_t i = 0; i < timeline.spans.size(); ++i) {
    const Span& span = timeline.spans[i];
    const Action& action = span.action;
    const double start = to_nanoseconds(span.start_seconds - origin);
    fmt::format_to(std::back_inserter(text),
                   "{}{{\"ph\":\"X\",\"name\":\"{}\",\"cat\":\"{}\",\"pid\":0,\"tid\":{},"
                   "\"ts\":{},\"dur\":{},\"args\":{{\"stage\":{},\"micro_batch\":{}}}}}",
                   separator, to_string(action), letters(action.kind), tracks.thread_of(span, i),
                   microseconds_text(start),
                   microseconds_text(to_nanoseconds(span.end_seconds - origin) - start),
                   action.stage, action.micro_batch);
    separator = ",\n";
  }
  return text + "\n]" + links_of(timeline) + "}\n";
}

}  // namespace halfback
