#include "halfback/schedule/torch_rules.h"

#include "halfback/base/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>

namespace halfback {

namespace {

using Kind = TorchFinding::Kind;

constexpr std::string_view kReduce = "REDUCE_GRAD";

// A cell of data parallelism, such as "0REDUCE_GRAD".
struct DataParallelCell {
  std::string_view text;
  std::size_t line = 0;  // 1-based
  int rank = 0;
  std::int64_t stage = -1;  // -1: too large
  int num_before = 0;       // weight gradients (W or B) of its stage that precede it in its row

  bool reduces() const { return text.ends_with(kReduce); }
};

// What the text contains besides actions. Line numbers are 1-based; 0: nowhere.
struct TextFacts {
  std::size_t comment_line = 0;
  std::size_t blank_line = 0;
  std::size_t empty_cell_line = 0;
  std::vector<DataParallelCell> data_parallel;
};

bool is_data_parallel(std::string_view cell) {
  return cell.ends_with("UNSHARD") || cell.ends_with("RESHARD") || cell.ends_with(kReduce);
}

class TextReader {
 public:
  explicit TextReader(std::string_view text) {
    std::size_t number = 0;
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = std::min(text.find('\n', begin), text.size());
      read_line(trim(text.substr(begin, end - begin)), ++number);
      begin = end + 1;
    }
  }

  TextFacts take() { return std::move(facts_); }

 private:
  void read_line(std::string_view line, std::size_t number) {
    if (line.starts_with('#')) {
      facts_.comment_line = facts_.comment_line == 0 ? number : facts_.comment_line;
    } else if (line.empty()) {
      facts_.blank_line = facts_.blank_line == 0 ? number : facts_.blank_line;
    } else {
      num_weight_gradients_.clear();
      for (const std::string_view part : split(line, ',')) {
        read_cell(trim(part), number);
      }
      ++rank_;
    }
  }

  void read_cell(std::string_view cell, std::size_t number) {
    if (cell.empty()) {
      facts_.empty_cell_line = facts_.empty_cell_line == 0 ? number : facts_.empty_cell_line;
    } else if (is_data_parallel(cell)) {
      const std::size_t digits = cell.find_first_not_of("0123456789");
      const std::int64_t stage = parse_integer(cell.substr(0, digits)).value_or(-1);
      facts_.data_parallel.push_back({cell, number, rank_, stage, num_weight_gradients_[stage]});
    } else if (cell.starts_with('(')) {
      for (const std::string_view part : split(cell.substr(1, cell.find(')') - 1), ';')) {
        count_weight_gradient(trim(part));
      }
    } else {
      count_weight_gradient(cell);
    }
  }

  void count_weight_gradient(std::string_view cell) {
    const std::optional<Action> action = try_parse_action(cell);
    if (action && adds_weight_gradient(action->kind)) {
      ++num_weight_gradients_[action->stage];
    }
  }

  TextFacts facts_;
  int rank_ = 0;
  std::map<std::int64_t, int> num_weight_gradients_;  // by stage, in the row so far
};

class Checker {
 public:
  Checker(const Schedule& schedule, std::string_view text)
      : schedule_(schedule), facts_(TextReader(text).take()) {}

  std::vector<TorchFinding> run() {
    check_what_it_knows();
    check_lines();
    if (schedule_.placement.num_replicas() > 1) {
      return std::move(findings_);
    }
    if (has_messages(schedule_)) {
      check_with_messages();
    } else if (!facts_.data_parallel.empty()) {
      refuse(
          "'{}' in a file without messages; its reader takes F, I, W and B there: leave the "
          "cells of data parallelism out, it adds them itself",
          facts_.data_parallel.front().text);
    }
    check_last_stage();
    return std::move(findings_);
  }

 private:
  template <typename... Args>
  void refuse(fmt::format_string<Args...> text, Args&&... args) {
    findings_.push_back({Kind::Refused, fmt::format(text, std::forward<Args>(args)...)});
  }
  template <typename... Args>
  void warn(fmt::format_string<Args...> text, Args&&... args) {
    findings_.push_back({Kind::Wrong, fmt::format(text, std::forward<Args>(args)...)});
  }

  void check_what_it_knows() {
    if (schedule_.placement.num_replicas() > 1) {
      refuse("{} replicas of the weights; a stage has one rank there",
             schedule_.placement.num_replicas());
    }
    if (!schedule_.losses.is_backprop()) {
      refuse("the losses {}; its gradients go from the last stage to the first",
             brief_losses(schedule_.losses));
    }
    for (const std::vector<Action>& list : schedule_.ranks) {
      const auto update = std::find_if(list.begin(), list.end(), [](const Action& action) {
        return action.kind == ActionKind::Update;
      });
      if (update != list.end()) {
        refuse("{} updates a stage inside the step; it has no such action", to_string(*update));
        return;
      }
    }
  }

  void check_lines() {
    if (facts_.comment_line > 0) {
      refuse(
          "line {}: a comment; its reader takes every line for a rank's: write the file with "
          "--format torch",
          facts_.comment_line);
    }
    if (facts_.blank_line > 0) {
      refuse("line {}: a blank line; it counts as one rank more: delete it", facts_.blank_line);
    }
  }

  void check_with_messages() {
    if (facts_.empty_cell_line > 0) {
      refuse("line {}: an empty cell; a file with messages has none there: delete it",
             facts_.empty_cell_line);
    }
    std::vector<const DataParallelCell*> reduces(static_cast<std::size_t>(schedule_.num_stages()));
    for (const DataParallelCell& cell : facts_.data_parallel) {
      check_cell(cell, reduces);
    }
    for (std::size_t stage = 0; stage < reduces.size(); ++stage) {
      if (reduces[stage] == nullptr) {
        warn(
            "stage {} has no {}{} cell; its gradients stay {} times too large, silently: "
            "put one after its last backward, as --format torch-comm does",
            stage, stage, kReduce, schedule_.num_micro_batches);
      }
    }
  }

  // REDUCE_GRAD divides the gradients by the number of micro-batches. It misses gradients that are
  // added later, and a second one divides again.
  void check_cell(const DataParallelCell& cell, std::vector<const DataParallelCell*>& reduces) {
    if (cell.stage < 0 || cell.stage >= schedule_.num_stages() ||
        schedule_.placement.rank_of(static_cast<int>(cell.stage)) != cell.rank) {
      refuse("line {}: '{}' speaks of a stage that is not on rank {}: delete it", cell.line,
             cell.text, cell.rank);
      return;
    }
    if (!cell.reduces()) {
      return;
    }
    const DataParallelCell*& first = reduces[static_cast<std::size_t>(cell.stage)];
    if (first != nullptr) {
      warn("line {}: '{}' a second time; gradients are silently divided by {} twice: delete it",
           cell.line, cell.text, schedule_.num_micro_batches);
      return;
    }
    first = &cell;
    if (cell.num_before < schedule_.num_micro_batches) {
      warn(
          "line {}: '{}' comes after {} of {} backwards of its stage; the gradients of "
          "the others silently stay {} times too large: put it after the last",
          cell.line, cell.text, cell.num_before, schedule_.num_micro_batches,
          schedule_.num_micro_batches);
    }
  }

  // The runtime finds the loss of a micro-batch by counting.
  void check_last_stage() {
    const int last = schedule_.num_stages() - 1;
    for (const std::vector<Action>& list : schedule_.ranks) {
      int previous = -1;
      for (const Action& action : list) {
        if (action.kind != ActionKind::Forward || action.stage != last) {
          continue;
        }
        if (action.micro_batch < previous) {
          warn(
              "{} comes after {}F{}; forwards of the last stage must ascend, else I and W "
              "silently compute other gradients, and B fails while other ranks wait",
              to_string(action), last, previous);
          return;
        }
        previous = action.micro_batch;
      }
    }
  }

  const Schedule& schedule_;
  TextFacts facts_;
  std::vector<TorchFinding> findings_;
};

}  // namespace

std::vector<TorchFinding> check_for_torch(const Schedule& schedule, std::string_view text) {
  return Checker(schedule, text).run();
}

}  // namespace halfback
