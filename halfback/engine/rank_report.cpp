#include "halfback/engine/rank_report.h"

#include "halfback/base/error.h"

#include <array>
#include <cstddef>

namespace halfback {

namespace {

constexpr std::size_t kHead = 7;  // numbers before the spans
constexpr std::size_t kOfSpan = 6;

}  // namespace

std::vector<double> to_numbers(const RankReport& report) {
  const RankMemory& memory = report.memory;
  std::vector<double> numbers = {report.is_stop_asked ? 1.0 : 0.0, report.origin_seconds};
  numbers.reserve(kHead + kOfSpan * report.spans.size());
  for (const std::int64_t bytes : {memory.parameters, memory.gradients, memory.optimizer_state,
                                   memory.activations, memory.peak}) {
    numbers.push_back(static_cast<double>(bytes));
  }
  for (const Span& span : report.spans) {
    const std::array all = {static_cast<double>(span.action.kind),
                            static_cast<double>(span.action.stage),
                            static_cast<double>(span.action.micro_batch),
                            span.start_seconds,
                            span.end_seconds,
                            span.cpu_seconds};
    numbers.insert(numbers.end(), all.begin(), all.end());
  }
  return numbers;
}

RankReport rank_report_of(int rank, std::span<const double> numbers) {
  HALFBACK_CHECK(numbers.size() >= kHead && (numbers.size() - kHead) % kOfSpan == 0,
                 "a report of a rank");
  const auto bytes = [&](std::size_t i) { return static_cast<std::int64_t>(numbers[i]); };
  RankReport report{.is_stop_asked = numbers[0] != 0.0,
                    .origin_seconds = numbers[1],
                    .memory = {.parameters = bytes(2),
                               .gradients = bytes(3),
                               .optimizer_state = bytes(4),
                               .activations = bytes(5),
                               .peak = bytes(6)},
                    .spans = {}};
  for (std::size_t i = kHead; i < numbers.size(); i += kOfSpan) {
    report.spans.push_back(
        {.rank = rank,
         .action = {static_cast<ActionKind>(static_cast<int>(numbers[i])),
                    static_cast<int>(numbers[i + 1]), static_cast<int>(numbers[i + 2])},
         .start_seconds = numbers[i + 3],
         .end_seconds = numbers[i + 4],
         .cpu_seconds = numbers[i + 5]});
  }
  return report;
}

}  // namespace halfback
