#include "halfback/schedule/csv_header.h"

#include "halfback/base/text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

namespace halfback::detail {

namespace {

constexpr std::string_view kHeader = "# halfback schedule";
constexpr std::string_view kSpace = " \t\r";
constexpr std::size_t kMaxNameLength = 200;

bool is_word_character(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-' ||
         c == '+';
}

std::optional<int> parse_count(std::string_view text, int least) {
  const std::optional<std::int64_t> value = parse_integer(text);
  if (!value || *value < least || *value > kMaxIndex) {
    return std::nullopt;
  }
  return static_cast<int>(*value);
}

std::string read_name(std::string_view value, CsvHeader& header) {
  if (header.name) {
    return "name is given twice";
  }
  if (value.size() > kMaxNameLength ||
      !std::all_of(value.begin(), value.end(), is_word_character)) {
    return fmt::format("a name is at most {} letters, digits and . _ - +", kMaxNameLength);
  }
  header.name = value;
  return {};
}

std::string read_micro_batches(std::string_view value, CsvHeader& header) {
  if (header.num_micro_batches) {
    return "micro_batches is given twice";
  }
  header.num_micro_batches = parse_count(value, 1);
  return header.num_micro_batches
             ? std::string{}
             : fmt::format("micro_batches is a number from 1 to {}", kMaxIndex);
}

// Returns the numbers of "0,1,2": at most kMaxIndex numbers, each below it.
std::optional<std::vector<int>> parse_indices(std::string_view text) {
  std::vector<int> indices;
  for (const std::string_view part : split(text, ',')) {
    const std::optional<int> index = parse_count(part, 0);
    if (!index || *index == kMaxIndex || indices.size() == kMaxIndex) {
      return std::nullopt;
    }
    indices.push_back(*index);
  }
  return indices;
}

std::string read_placement(std::string_view value, CsvHeader& header) {
  if (header.placement) {
    return "placement is given twice";
  }
  Placement placement;
  for (const std::string_view part : split(value, '|')) {
    std::optional<std::vector<int>> ranks = parse_indices(part);
    if (!ranks) {
      return fmt::format(
          "placement is the rank of each stage, as in 0,1,2, at most {} below {}, and with | "
          "between "
          "them the same for each replica",
          kMaxIndex, kMaxIndex);
    }
    if (!placement.replicas.empty() && ranks->size() != placement.replicas.front().size()) {
      return fmt::format("a replica of {} stages after one of {}; all have the same", ranks->size(),
                         placement.num_stages());
    }
    placement.replicas.push_back(std::move(*ranks));
  }
  header.placement = std::move(placement);
  return {};
}

std::string read_replicas(std::string_view value, CsvHeader& header) {
  if (header.replica_of_micro_batch) {
    return "replicas is given twice";
  }
  header.replica_of_micro_batch = parse_indices(value);
  return header.replica_of_micro_batch
             ? std::string{}
             : fmt::format(
                   "replicas is the replica of each micro-batch, as in 0,1, at most {} of them",
                   kMaxIndex);
}

std::string read_losses(std::string_view value, CsvHeader& header) {
  if (header.losses) {
    return "losses is given twice";
  }
  header.losses = parse_losses(value);
  return header.losses ? std::string{} : fmt::format("losses is {}", kLossesForm);
}

std::string read_weights(std::string_view value, CsvHeader& header) {
  if (header.weight_rule) {
    return "weights is given twice";
  }
  header.weight_rule = parse_weight_rule(value);
  return header.weight_rule ? std::string{}
                            : fmt::format("weights is sum, mean or furthest{}",
                                          suggestion(value.substr(0, 40), weight_rule_names()));
}

// Returns what is wrong with one key=value, or "".
std::string read_pair(std::string_view pair, CsvHeader& header) {
  const std::size_t equals = std::min(pair.find('='), pair.size());
  const std::string_view key = pair.substr(0, equals);
  const std::string_view value = pair.substr(std::min(equals + 1, pair.size()));
  using Read = std::string (*)(std::string_view, CsvHeader&);
  constexpr std::array<std::pair<std::string_view, Read>, 6> kReaders = {{
      {"name", read_name},
      {"micro_batches", read_micro_batches},
      {"placement", read_placement},
      {"replicas", read_replicas},
      {"losses", read_losses},
      {"weights", read_weights},
  }};
  std::vector<std::string> known;
  for (const auto& [name, read] : kReaders) {
    if (name == key) {
      return read(value, header);
    }
    known.emplace_back(name);
  }
  return fmt::format("unknown key{}; a header has {}", suggestion(key.substr(0, 40), known),
                     fmt::join(known, "=, ")) +
         "=";
}

}  // namespace

bool is_csv_header(std::string_view line) {
  return line.substr(0, kHeader.size()) == kHeader &&
         (line.size() == kHeader.size() ||
          kSpace.find(line[kHeader.size()]) != std::string_view::npos);
}

std::optional<CsvFault> read_csv_header(std::string_view line, CsvHeader& header) {
  std::size_t begin = line.find_first_not_of(kSpace, kHeader.size());
  while (begin != std::string_view::npos) {
    const std::size_t end = std::min(line.find_first_of(kSpace, begin), line.size());
    const std::string what = read_pair(line.substr(begin, end - begin), header);
    if (!what.empty()) {
      return CsvFault{begin, end - begin, what};
    }
    begin = line.find_first_not_of(kSpace, end);
  }
  return std::nullopt;
}

std::string csv_header_line(const Schedule& schedule) {
  std::string line(kHeader);
  std::string name = schedule.name.substr(0, kMaxNameLength);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !is_word_character(c); }, '_');
  if (!name.empty()) {
    line += fmt::format(" name={}", name);
  }
  const Placement& placement = schedule.placement;
  line += fmt::format(" micro_batches={} placement=", schedule.num_micro_batches);
  for (std::size_t replica = 0; replica < placement.replicas.size(); ++replica) {
    line += replica == 0 ? "" : "|";
    line += fmt::format("{}", fmt::join(placement.replicas[replica], ","));
  }
  if (!placement.replica_of_micro_batch.empty()) {
    line += fmt::format(" replicas={}", fmt::join(placement.replica_of_micro_batch, ","));
  }
  if (!schedule.losses.is_backprop()) {
    line += fmt::format(" losses={} weights={}", losses_text(schedule.losses),
                        to_string(schedule.losses.weight_rule()));
  }
  return line;
}

}  // namespace halfback::detail
