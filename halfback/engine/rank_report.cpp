#include "halfback/engine/rank_report.h"

#include "halfback/base/error.h"

#include <array>
#include <cstddef>

namespace halfback {

namespace {

constexpr std::size_t kHead = 8;  // numbers before the links; the last one is the number of links
constexpr std::size_t kOfLink = 4;
constexpr std::size_t kOfSpan = 7;

}  // namespace

std::vector<double> to_numbers(const RankReport& report) {
  const RankMemory& memory = report.memory;
  std::vector<double> numbers = {report.is_stop_asked ? 1.0 : 0.0, report.origin_seconds};
  numbers.reserve(kHead + kOfLink * report.links.size() + kOfSpan * report.spans.size());
  for (const std::int64_t bytes : {memory.parameters, memory.gradients, memory.optimizer_state,
                                   memory.activations, memory.peak}) {
    numbers.push_back(static_cast<double>(bytes));
  }
  numbers.push_back(static_cast<double>(report.links.size()));
  for (const Link& link : report.links) {
    const std::array all = {static_cast<double>(link.to), static_cast<double>(link.messages),
                            static_cast<double>(link.bytes), link.seconds};
    numbers.insert(numbers.end(), all.begin(), all.end());
  }
  for (const Span& span : report.spans) {
    const std::array all = {static_cast<double>(span.action.kind),
                            static_cast<double>(span.action.stage),
                            static_cast<double>(span.action.micro_batch),
                            static_cast<double>(span.action.slice),
                            span.start_seconds,
                            span.end_seconds,
                            span.cpu_seconds};
    numbers.insert(numbers.end(), all.begin(), all.end());
  }
  return numbers;
}

RankReport rank_report_of(int rank, std::span<const double> numbers) {
  HALFBACK_CHECK(numbers.size() >= kHead, "a report of a rank");
  const auto bytes = [&](std::size_t i) { return static_cast<std::int64_t>(numbers[i]); };
  RankReport report{.is_stop_asked = numbers[0] != 0.0,
                    .origin_seconds = numbers[1],
                    .memory = {.parameters = bytes(2),
                               .gradients = bytes(3),
                               .optimizer_state = bytes(4),
                               .activations = bytes(5),
                               .peak = bytes(6)},
                    .links = {},
                    .spans = {}};
  const std::size_t spans_begin = kHead + kOfLink * static_cast<std::size_t>(numbers[kHead - 1]);
  HALFBACK_CHECK(spans_begin <= numbers.size() && (numbers.size() - spans_begin) % kOfSpan == 0,
                 "a report of a rank");
  for (std::size_t i = kHead; i < spans_begin; i += kOfLink) {
    report.links.push_back({.from = rank,
                            .to = static_cast<int>(numbers[i]),
                            .messages = bytes(i + 1),
                            .bytes = bytes(i + 2),
                            .seconds = numbers[i + 3]});
  }
  for (std::size_t i = spans_begin; i < numbers.size(); i += kOfSpan) {
    report.spans.push_back(
        {.rank = rank,
         .action = {static_cast<ActionKind>(static_cast<int>(numbers[i])),
                    static_cast<int>(numbers[i + 1]), static_cast<int>(numbers[i + 2]),
                    static_cast<std::uint16_t>(numbers[i + 3])},
         .start_seconds = numbers[i + 4],
         .end_seconds = numbers[i + 5],
         .cpu_seconds = numbers[i + 6]});
  }
  return report;
}

}  // namespace halfback
