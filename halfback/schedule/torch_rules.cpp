#include "halfback/schedule/torch_rules.h"

#include "halfback/base/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace halfback {

namespace {

using Kind = TorchFinding::Kind;

constexpr std::string_view kReduce = "REDUCE_GRAD";

// What the text says beyond the actions. Line numbers are 1-based; 0: nowhere.
struct TextFacts {
  std::size_t comment_line = 0;
  std::size_t blank_line = 0;
  std::size_t empty_cell_line = 0;
  std::string data_parallel_cell;  // the first
  std::set<std::string> reduced_stages;
};

bool is_data_parallel(std::string_view cell) {
  return cell.ends_with("UNSHARD") || cell.ends_with("RESHARD") || cell.ends_with(kReduce);
}

void read_cells(std::string_view line, std::size_t number, TextFacts& facts) {
  for (const std::string_view part : split(line, ',')) {
    const std::string_view cell = trim(part);
    if (cell.empty() && facts.empty_cell_line == 0) {
      facts.empty_cell_line = number;
    }
    if (is_data_parallel(cell) && facts.data_parallel_cell.empty()) {
      facts.data_parallel_cell = cell;
    }
    if (cell.ends_with(kReduce)) {
      facts.reduced_stages.emplace(cell.substr(0, cell.size() - kReduce.size()));
    }
  }
}

TextFacts facts_of(std::string_view text) {
  TextFacts facts;
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = trim(text.substr(begin, end - begin));
    ++number;
    if (line.starts_with('#')) {
      facts.comment_line = facts.comment_line == 0 ? number : facts.comment_line;
    } else if (line.empty()) {
      facts.blank_line = facts.blank_line == 0 ? number : facts.blank_line;
    } else {
      read_cells(line, number, facts);
    }
    begin = end + 1;
  }
  return facts;
}

class Checker {
 public:
  Checker(const Schedule& schedule, std::string_view text)
      : schedule_(schedule), facts_(facts_of(text)) {}

  std::vector<TorchFinding> run() {
    check_what_it_knows();
    check_lines();
    if (has_messages(schedule_)) {
      check_with_messages();
    } else if (!facts_.data_parallel_cell.empty()) {
      refuse(
          "'{}' in a file without messages; its reader takes F, I, W and B there: leave the "
          "cells of data parallelism out, it adds them itself",
          facts_.data_parallel_cell);
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
    for (int stage = 0; stage < schedule_.num_stages(); ++stage) {
      if (facts_.reduced_stages.count(std::to_string(stage)) == 0) {
        warn(
            "stage {} has no {}{} cell; its gradients stay {} times too large, without a word: "
            "put one after its last backward, as --format torch-comm does",
            stage, stage, kReduce, schedule_.num_micro_batches);
      }
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
              "compute other gradients, without a word, and B fails while other ranks wait",
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
