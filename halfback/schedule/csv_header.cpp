#include "halfback/schedule/csv_header.h"

#include "halfback/base/text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>

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

std::string read_placement(std::string_view value, CsvHeader& header) {
  if (header.rank_of_stage) {
    return "placement is given twice";
  }
  std::vector<int> ranks;
  while (true) {
    const std::size_t comma = std::min(value.find(','), value.size());
    const std::optional<int> rank = parse_count(value.substr(0, comma), 0);
    if (!rank || *rank == kMaxIndex || ranks.size() == kMaxIndex) {
      return fmt::format("placement is the rank of each stage, as in 0,1,2, at most {} below {}",
                         kMaxIndex, kMaxIndex);
    }
    ranks.push_back(*rank);
    if (comma == value.size()) {
      break;
    }
    value.remove_prefix(comma + 1);
  }
  header.rank_of_stage = std::move(ranks);
  return {};
}

// Returns what is wrong with one key=value, or "".
std::string read_pair(std::string_view pair, CsvHeader& header) {
  const std::size_t equals = std::min(pair.find('='), pair.size());
  const std::string_view key = pair.substr(0, equals);
  const std::string_view value = pair.substr(std::min(equals + 1, pair.size()));
  if (key == "name") {
    return read_name(value, header);
  }
  if (key == "micro_batches") {
    return read_micro_batches(value, header);
  }
  if (key == "placement") {
    return read_placement(value, header);
  }
  return fmt::format("unknown key{}; a header has name=, micro_batches= and placement=",
                     suggestion(key.substr(0, 40), {"name", "micro_batches", "placement"}));
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
  line += fmt::format(" micro_batches={} placement={}", schedule.num_micro_batches,
                      fmt::join(schedule.placement.rank_of_stage, ","));
  return line;
}

}  // namespace halfback::detail
