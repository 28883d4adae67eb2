#include "halfback/engine/rank_report.h"

#include "halfback/base/error.h"

#include <array>
#include <cstddef>

namespace halfback {

namespace {

constexpr std::size_t kHead = 11;  // numbers before the totals; the last: stages, links, totals
constexpr std::size_t kOfLink = 4;
constexpr std::size_t kOfStage = 6;
constexpr std::size_t kOfSpan = 8;

}  // namespace

std::vector<double> to_numbers(const RankReport& report) {
  const RankMemory& memory = report.memory;
  std::vector<double> numbers = {report.is_stop_asked ? 1.0 : 0.0, report.origin_seconds,
                                 report.end_seconds};
  numbers.reserve(kHead + report.totals.size() + kOfLink * report.links.size() +
                  kOfStage * report.stages.size() + kOfSpan * report.spans.size());
  for (const std::int64_t bytes : {memory.parameters, memory.gradients, memory.optimizer_state,
                                   memory.activations, memory.peak}) {
    numbers.push_back(static_cast<double>(bytes));
  }
  numbers.push_back(static_cast<double>(report.stages.size()));
  numbers.push_back(static_cast<double>(report.links.size()));
  numbers.push_back(static_cast<double>(report.totals.size()));
  numbers.insert(numbers.end(), report.totals.begin(), report.totals.end());
  for (const Link& link : report.links) {
    const std::array all = {static_cast<double>(link.to), static_cast<double>(link.messages),
                            static_cast<double>(link.bytes), link.seconds};
    numbers.insert(numbers.end(), all.begin(), all.end());
  }
  for (const auto& [stage, bytes] : report.stages) {
    for (const std::int64_t one :
         {std::int64_t{stage}, bytes.until_input, bytes.until_weight, bytes.gradients,
          bytes.activation_message, bytes.gradient_message}) {
      numbers.push_back(static_cast<double>(one));
    }
  }
  for (const Span& span : report.spans) {
    const std::array all = {static_cast<double>(span.action.kind),
                            static_cast<double>(span.action.stage),
                            static_cast<double>(span.action.micro_batch),
                            static_cast<double>(span.action.slice),
                            static_cast<double>(span.action.loss),
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
  const auto count = [&](std::size_t i) { return static_cast<std::size_t>(numbers[i]); };
  const std::size_t links_begin = kHead + count(kHead - 1);
  const std::size_t stages_begin = links_begin + kOfLink * count(kHead - 2);
  const std::size_t spans_begin = stages_begin + kOfStage * count(kHead - 3);
  HALFBACK_CHECK(spans_begin <= numbers.size() && (numbers.size() - spans_begin) % kOfSpan == 0,
                 "a report of a rank");
  const std::span<const double> totals = numbers.subspan(kHead, links_begin - kHead);
  RankReport report{.is_stop_asked = numbers[0] != 0.0,
                    .origin_seconds = numbers[1],
                    .end_seconds = numbers[2],
                    .memory = {.parameters = bytes(3),
                               .gradients = bytes(4),
                               .optimizer_state = bytes(5),
                               .activations = bytes(6),
                               .peak = bytes(7)},
                    .totals = {totals.begin(), totals.end()},
                    .links = {},
                    .stages = {},
                    .spans = {}};
  for (std::size_t i = links_begin; i < stages_begin; i += kOfLink) {
    report.links.push_back({.from = rank,
                            .to = static_cast<int>(numbers[i]),
                            .messages = bytes(i + 1),
                            .bytes = bytes(i + 2),
                            .seconds = numbers[i + 3]});
  }
  for (std::size_t i = stages_begin; i < spans_begin; i += kOfStage) {
    report.stages[static_cast<int>(numbers[i])] = {.until_input = bytes(i + 1),
                                                   .until_weight = bytes(i + 2),
                                                   .gradients = bytes(i + 3),
                                                   .activation_message = bytes(i + 4),
                                                   .gradient_message = bytes(i + 5)};
  }
  for (std::size_t i = spans_begin; i < numbers.size(); i += kOfSpan) {
    Action action{static_cast<ActionKind>(static_cast<int>(numbers[i])),
                  static_cast<int>(numbers[i + 1]), static_cast<int>(numbers[i + 2]),
                  static_cast<std::uint16_t>(numbers[i + 3])};
    action.loss = static_cast<std::uint8_t>(numbers[i + 4]);
    report.spans.push_back({.rank = rank,
                            .action = action,
                            .start_seconds = numbers[i + 5],
                            .end_seconds = numbers[i + 6],
                            .cpu_seconds = numbers[i + 7]});
  }
  return report;
}

}  // namespace halfback
