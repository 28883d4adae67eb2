#include "halfback/timeline/chrome_trace.h"

#include <fmt/format.h>

#include <iterator>

namespace halfback {

std::string to_chrome_trace(const Timeline& timeline) {
  std::string text = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[";
  const char* separator = "\n";
  for (int rank = 0; rank < timeline.num_ranks; ++rank) {
    fmt::format_to(std::back_inserter(text),
                   "{0}{{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":0,\"tid\":{1},"
                   "\"args\":{{\"name\":\"rank {1}\"}}}}",
                   separator, rank);
    separator = ",\n";
  }
  for (const Span& span : timeline.spans) {
    const Action& action = span.action;
    fmt::format_to(std::back_inserter(text),
                   "{}{{\"ph\":\"X\",\"name\":\"{}\",\"cat\":\"{}\",\"pid\":0,\"tid\":{},"
                   "\"ts\":{:.3f},\"dur\":{:.3f},\"args\":{{\"stage\":{},\"micro_batch\":{}}}}}",
                   separator, to_string(action), letters(action.kind), span.rank,
                   span.start_seconds * 1e6, (span.end_seconds - span.start_seconds) * 1e6,
                   action.stage, action.micro_batch);
    separator = ",\n";
  }
  return text + "\n]}\n";
}

}  // namespace halfback
