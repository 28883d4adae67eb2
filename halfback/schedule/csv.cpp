#include "halfback/schedule/csv.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/schedule/csv_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <optional>
#include <utility>

namespace halfback {

namespace {

using detail::CsvFault;

constexpr std::string_view kOverlapped = "OVERLAP_F_B";
constexpr std::size_t kMaxShown = 40;
constexpr std::string_view kSpace = " \t\r";

std::string printable(std::string_view text) {
  std::string result;
  for (const char c : text) {
    result += std::isprint(static_cast<unsigned char>(c)) != 0 ? c : '?';
  }
  return result;
}

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = std::min(text.find_first_not_of(kSpace), text.size());
  text.remove_prefix(begin);
  return text.substr(0, text.find_last_not_of(kSpace) + 1);
}

// True for PyTorch's data-parallel cells that mean nothing here, such as "0UNSHARD".
bool is_skipped(std::string_view cell, bool with_replicas) {
  const std::size_t digits = std::min(cell.find_first_not_of("0123456789"), cell.size());
  const std::string_view letters_of_cell = cell.substr(digits);
  return digits > 0 && (letters_of_cell == "UNSHARD" || letters_of_cell == "RESHARD" ||
                        (!with_replicas && letters_of_cell == letters(ActionKind::ReduceGradient)));
}

class Reader {
 public:
  Reader(std::string_view text, std::string_view source) : text_(text), source_(source) {}

  Schedule read() {
    if (text_.size() > kMaxCsvBytes) {
      throw ScheduleError(fmt::format("{}: {} bytes; at most {} are read; check the path", source_,
                                      text_.size(), kMaxCsvBytes));
    }
    while (begin_ < text_.size()) {
      const std::size_t end = std::min(text_.find('\n', begin_), text_.size());
      read_line(text_.substr(begin_, end - begin_));
      begin_ = end + 1;
      ++line_number_;
    }
    if (ranks_.empty()) {
      throw ScheduleError(
          fmt::format("{}: no row of actions; expected a row per rank, as in 0F0,0B0", source_));
    }
    return finish();
  }

 private:
  [[noreturn]] void fail(std::string_view line, const CsvFault& fault) const {
    const std::size_t shown_begin = fault.offset - std::min<std::size_t>(fault.offset, 30);
    const std::string shown = printable(line.substr(shown_begin, 72));
    const std::size_t num_carets = std::clamp<std::size_t>(fault.length, 1, kMaxShown);
    throw ScheduleError(fmt::format("{}: line {}, column {}: {}\n  {}\n  {}{}\n", source_,
                                    line_number_, fault.offset + 1, fault.what, shown,
                                    std::string(fault.offset - shown_begin, ' '),
                                    std::string(num_carets, '^')));
  }

  [[noreturn]] void fail_cell(std::string_view line, std::string_view cell, std::string_view what) {
    const auto offset = static_cast<std::size_t>(cell.data() - line.data());
    fail(line, {offset, cell.size(),
                fmt::format("'{}{}' {}", printable(cell.substr(0, kMaxShown)),
                            cell.size() > kMaxShown ? "..." : "", what)});
  }

  void read_line(std::string_view line) {
    if (!line.empty() && line.front() == '#') {
      read_comment(line);
      return;
    }
    std::vector<Action> actions = read_row(line);
    if (actions.empty()) {
      has_blank_row_ = true;
      return;
    }
    if (has_blank_row_) {
      fail(line,
           {0, 1, "a row after a row without actions; every rank has some; delete the empty row"});
    }
    if (ranks_.size() == kMaxIndex) {
      fail(line,
           {0, 1, fmt::format("more than {} ranks; check that this is a schedule", kMaxIndex)});
    }
    ranks_.push_back(std::move(actions));
  }

  void read_comment(std::string_view line) {
    if (!detail::is_csv_header(line)) {
      return;
    }
    if (!ranks_.empty()) {
      fail(line, {0, 1, "a header after the first row; a header comes first; move it to the top"});
    }
    if (const auto fault = detail::read_csv_header(line, header_)) {
      fail(line, *fault);
    }
  }

  std::vector<Action> read_row(std::string_view line) {
    std::vector<Action> actions;
    const bool with_replicas = header_.placement && header_.placement->num_replicas() > 1;
    std::size_t num_cells = 0;
    for (std::size_t begin = 0; begin <= line.size();) {
      const std::size_t end = std::min(line.find(',', begin), line.size());
      const std::string_view cell = trimmed(line.substr(begin, end - begin));
      if (++num_cells > kMaxCsvCellsPerRow) {
        fail(line, {begin, 1,
                    fmt::format("more than {} cells in a row; check that this is a schedule",
                                kMaxCsvCellsPerRow)});
      }
      if (!cell.empty() && cell.front() == '(') {
        read_overlapped(line, cell, actions);
      } else if (!cell.empty() && !is_skipped(cell, with_replicas)) {
        actions.push_back(read_cell(line, cell));
      }
      begin = end + 1;
    }
    return actions;
  }

  // Reads "(1F3;2B1)OVERLAP_F_B" as its actions in order.
  void read_overlapped(std::string_view line, std::string_view cell, std::vector<Action>& actions) {
    const std::size_t end = cell.find(')');
    if (end == std::string_view::npos || cell.substr(end + 1) != kOverlapped) {
      fail_cell(line, cell,
                fmt::format("is not a group of actions; expected (1F3;2B1){}", kOverlapped));
    }
    for (std::size_t begin = 1; begin <= end;) {
      const std::size_t stop = std::min(cell.find(';', begin), end);
      actions.push_back(read_cell(line, trimmed(cell.substr(begin, stop - begin))));
      begin = stop + 1;
    }
  }

  Action read_cell(std::string_view line, std::string_view cell) {
    const std::optional<Action> action = try_parse_action(cell);
    if (!action) {
      fail_cell(line, cell,
                fmt::format("is not an action; expected stage, letters, micro-batch, as in 2F0 or "
                            "2SEND_F0, both numbers below {}",
                            kMaxIndex));
    }
    if (header_.num_micro_batches && action->micro_batch >= *header_.num_micro_batches) {
      fail_cell(line, cell,
                fmt::format("is beyond the header's micro_batches={}; correct one of them",
                            *header_.num_micro_batches));
    }
    largest_micro_batch_ = std::max(largest_micro_batch_, action->micro_batch);
    place_stage(line, cell, *action);
    return *action;
  }

  void place_stage(std::string_view line, std::string_view cell, const Action& action) {
    const auto stage = static_cast<std::size_t>(action.stage);
    if (header_.placement) {
      const int num_stages = header_.placement->num_stages();
      if (action.stage >= num_stages) {
        fail_cell(
            line, cell,
            fmt::format("is beyond the {} stages of the header's placement; correct one of them",
                        num_stages));
      }
      return;
    }
    if (stage >= rank_of_stage_.size()) {
      rank_of_stage_.resize(stage + 1, -1);
    }
    if (rank_of_stage_[stage] < 0 && is_compute(action.kind)) {
      rank_of_stage_[stage] = static_cast<int>(ranks_.size());
    }
  }

  Schedule finish() {
    const int num_micro_batches = header_.num_micro_batches.value_or(largest_micro_batch_ + 1);
    Schedule schedule{
        .name = header_.name.value_or(""),
        .num_micro_batches = num_micro_batches,
        .placement = header_.placement ? stated_placement(num_micro_batches) : inferred_placement(),
        .ranks = std::move(ranks_)};
    schedule.losses = stated_losses(schedule.num_stages());
    if (schedule.placement.num_replicas() > 1) {
      name_replicas(schedule);
    }
    return schedule;
  }

  // Gives each REDUCE_GRAD and U the first micro-batch of the replica whose stage its rank holds.
  // If its rank does not hold the stage, validate() reports the wrong rank.
  static void name_replicas(Schedule& schedule) {
    const auto micro_batches =
        micro_batches_by_replica(schedule.placement, schedule.num_micro_batches);
    std::map<std::pair<int, int>, int> first_of;  // by rank and stage
    for (int replica = 0; replica < schedule.placement.num_replicas(); ++replica) {
      const std::vector<int>& own = micro_batches[static_cast<std::size_t>(replica)];
      for (int stage = 0; !own.empty() && stage < schedule.num_stages(); ++stage) {
        first_of[{schedule.placement.rank_of(stage, replica), stage}] = own.front();
      }
    }
    for (int rank = 0; rank < schedule.num_ranks(); ++rank) {
      for (Action& action : schedule.ranks[static_cast<std::size_t>(rank)]) {
        const auto found = first_of.find({rank, action.stage});
        if (!has_micro_batch(action.kind) && found != first_of.end()) {
          action.micro_batch = found->second;
        }
      }
    }
  }

  Losses stated_losses(int num_stages) {
    if (header_.weight_rule && !header_.losses) {
      throw ScheduleError(
          fmt::format("{}: the header has weights= and no losses=; give both or neither", source_));
    }
    if (!header_.losses) {
      return {};
    }
    return {num_stages, std::move(*header_.losses), header_.weight_rule.value_or(WeightRule::Sum),
            fmt::format("{}: the header's losses=", source_)};
  }

  // Returns the header's placement, whose ranks must be those of the rows.
  Placement stated_placement(int num_micro_batches) {
    Placement placement = std::move(*header_.placement);
    const auto num_ranks = static_cast<int>(ranks_.size());
    for (const std::vector<int>& rank_of_stage : placement.replicas) {
      for (std::size_t stage = 0; stage < rank_of_stage.size(); ++stage) {
        if (rank_of_stage[stage] >= num_ranks) {
          throw ScheduleError(
              fmt::format("{}: the header places stage {} on rank {}, but the rows end with rank "
                          "{}; correct one of them",
                          source_, stage, rank_of_stage[stage], num_ranks - 1));
        }
      }
    }
    placement.replica_of_micro_batch = header_.replica_of_micro_batch.value_or(std::vector<int>{});
    const auto num_expected =
        static_cast<std::size_t>(placement.num_replicas() > 1 ? num_micro_batches : 0);
    const std::vector<int>& replica_of = placement.replica_of_micro_batch;
    if (replica_of.size() != num_expected) {
      throw ScheduleError(fmt::format(
          "{}: the header's placement has {} replicas and its replicas= {} entries; several "
          "replicas need one entry for each of the {} micro-batches, one replica needs none",
          source_, placement.num_replicas(), replica_of.size(), num_micro_batches));
    }
    const auto largest = std::max_element(replica_of.begin(), replica_of.end());
    if (largest != replica_of.end() && *largest >= placement.num_replicas()) {
      throw ScheduleError(
          fmt::format("{}: the header's replicas= names {}; the replicas are 0 to {}", source_,
                      *largest, placement.num_replicas() - 1));
    }
    return placement;
  }

  Placement inferred_placement() {
    for (std::size_t stage = 0; stage < rank_of_stage_.size(); ++stage) {
      if (rank_of_stage_[stage] < 0) {
        throw ScheduleError(
            fmt::format("{}: no rank computes stage {}, of {}; each stage needs a rank", source_,
                        stage, rank_of_stage_.size()));
      }
    }
    return single_replica(std::move(rank_of_stage_));
  }

  std::string_view text_;
  std::string_view source_;
  std::size_t begin_ = 0;
  std::size_t line_number_ = 1;
  detail::CsvHeader header_;
  std::vector<std::vector<Action>> ranks_;
  std::vector<int> rank_of_stage_;  // from the rows, for files without a header
  int largest_micro_batch_ = 0;
  bool has_blank_row_ = false;
};

std::string row_text(const Schedule& schedule, int rank, CsvDialect dialect) {
  std::string line;
  for (const Action& action : schedule.ranks[static_cast<std::size_t>(rank)]) {
    if (dialect == CsvDialect::Torch && action.kind == ActionKind::Update) {
      throw ConfigError(
          fmt::format("csv: {} has no place in PyTorch's dialect, which updates after "
                      "the last action only; write it with --format csv",
                      to_string(action)));
    }
    if (!line.empty()) {
      line += ',';
    }
    append_action(line, action);
  }
  return line;
}

}  // namespace

Schedule parse_schedule(std::string_view text, std::string_view source_name) {
  return Reader(text, source_name).read();
}

std::string read_schedule_text(const std::filesystem::path& path) {
  return read_file(path, kMaxCsvBytes);
}

Schedule load_schedule(const std::filesystem::path& path) {
  return parse_schedule(read_schedule_text(path), path.string());
}

std::string to_csv(const Schedule& schedule, CsvDialect dialect) {
  std::string text;
  if (dialect == CsvDialect::Halfback) {
    text = detail::csv_header_line(schedule) + '\n';
  }
  // PyTorch scales gradients in REDUCE_GRAD. To files without messages, its own lowering adds it.
  const bool with_reduce = dialect == CsvDialect::Torch && has_messages(schedule);
  std::vector<std::string> reduces(schedule.ranks.size());
  if (dialect == CsvDialect::Torch && schedule.placement.num_replicas() > 1) {
    throw ConfigError(
        "csv: PyTorch's dialect has no place for replicas of the weights; a stage is on one rank; "
        "write them with --format csv");
  }
  if (dialect == CsvDialect::Torch && !schedule.losses.is_backprop()) {
    throw ConfigError(fmt::format(
        "csv: PyTorch's dialect has no place for the losses {}; gradients there go from "
        "the last stage to the first; write them with --format csv",
        brief_losses(schedule.losses)));
  }
  for (int stage = 0; with_reduce && stage < schedule.num_stages(); ++stage) {
    reduces[static_cast<std::size_t>(schedule.placement.rank_of(stage))] +=
        fmt::format(",{}{}", stage, letters(ActionKind::ReduceGradient));
  }
  for (int rank = 0; rank < schedule.num_ranks(); ++rank) {
    text += row_text(schedule, rank, dialect);
    text += reduces[static_cast<std::size_t>(rank)];
    text += '\n';
  }
  return text;
}

}  // namespace halfback
