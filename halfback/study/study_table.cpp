#include "halfback/study/study_table.h"

#include "halfback/study/text_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <limits>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

namespace halfback {

namespace {

using Json = nlohmann::json;

// The rows of one line, by seed.
struct Group {
  std::vector<Setting> place;
  std::map<std::string, std::vector<const Json*>> seeds;
};

// Splits the place of a row: what names its line, and its seed. What trials draw comes last.
void find_place(const Json& row, std::vector<Setting>& line, std::string& seed) {
  for (const Json& entry : row.at("place")) {
    const auto name = entry.at(0).get<std::string>();
    if (name == kTrialAxis) {
      return;
    }
    if (name == kSeedAxis) {
      seed = entry.at(1);
    } else {
      line.push_back({name, entry.at(1)});
    }
  }
}

std::vector<Json> by_run(std::vector<Json> rows) {
  std::ranges::sort(rows, {}, [](const Json& row) { return row.at("run").get<int>(); });
  return rows;
}

std::vector<Group> groups_of(const std::vector<Json>& rows) {
  std::vector<Group> groups;
  std::map<std::vector<Setting>, std::size_t> found;
  for (const Json& row : rows) {
    std::vector<Setting> line;
    std::string seed;
    find_place(row, line, seed);
    const auto [entry, is_new] = found.emplace(line, groups.size());
    if (is_new) {
      groups.push_back({.place = line, .seeds = {}});
    }
    groups[entry->second].seeds[seed].push_back(&row);
  }
  return groups;
}

// What is not finite is no number, as on disk.
std::optional<double> number(const Json& row, const char* name) {
  const auto found = row.find(name);
  return found != row.end() && found->is_number() && std::isfinite(found->get<double>())
             ? std::optional(found->get<double>())
             : std::nullopt;
}

// Whether one trial counts rather than another: a complete one, with fewer steps, with less loss.
bool is_better(const Json* one, const Json* other) {
  const auto key = [](const Json* row) {
    constexpr double kNone = std::numeric_limits<double>::infinity();
    const bool is_complete = row->at("status") == "complete";
    return std::tuple(row->at("status") == "infeasible", !is_complete,
                      is_complete ? number(*row, "steps").value_or(kNone) : kNone,
                      number(*row, "validation_loss").value_or(kNone));
  };
  return key(one) < key(other);
}

// Of each seed the trial that counts.
std::vector<const Json*> best_trials(const Group& group) {
  std::vector<const Json*> best;
  for (const auto& [seed, rows] : group.seeds) {
    best.push_back(*std::ranges::min_element(rows, is_better));
  }
  return best;
}

std::vector<double> numbers(const std::vector<const Json*>& rows, const char* name) {
  std::vector<double> found;
  for (const Json* row : rows) {
    if (const std::optional<double> one = number(*row, name)) {
      found.push_back(*one);
    }
  }
  return found;
}

int num_with(const Group& group, const char* status) {
  int count = 0;
  for (const auto& [seed, rows] : group.seeds) {
    count += static_cast<int>(
        std::ranges::count_if(rows, [&](const Json* row) { return row->at("status") == status; }));
  }
  return count;
}

// "12.3 [11.9, 13.0]"; the brackets hold the interval of the median.
std::string shown(const Summary& summary, double unit = 1.0) {
  if (summary.count == 0) {
    return "";
  }
  const std::string median = fmt::format("{:.4g}", unit * summary.median);
  return summary.count == 1
             ? median
             : fmt::format("{} [{:.4g}, {:.4g}]", median, unit * summary.interval_low,
                           unit * summary.interval_high);
}

std::vector<TableColumn> columns_of(const std::vector<StudyLine>& lines) {
  std::vector<TableColumn> columns;
  const auto add = [&](const std::string& title, const auto& cell_of) {
    TableColumn& column = columns.emplace_back(TableColumn{title});
    std::ranges::transform(lines, std::back_inserter(column), cell_of);
  };
  const auto count_of = [](const StudyLine& line) {
    return line.num_complete + line.num_incomplete + line.num_infeasible;
  };
  for (std::size_t axis = 0; axis < lines.front().place.size(); ++axis) {
    add(lines.front().place[axis].option,
        [&](const StudyLine& line) { return line.place[axis].value; });
  }
  add("n", [&](const StudyLine& line) { return std::to_string(count_of(line)); });
  if (!std::ranges::all_of(
          lines, [&](const StudyLine& line) { return line.num_complete == count_of(line); })) {
    add("complete", [](const StudyLine& line) { return std::to_string(line.num_complete); });
    add("infeasible", [](const StudyLine& line) { return std::to_string(line.num_infeasible); });
  }
  add("steps", [](const StudyLine& line) { return shown(line.steps); });
  add("validation loss", [](const StudyLine& line) { return shown(line.validation_loss); });
  add("validation accuracy", [](const StudyLine& line) { return shown(line.validation_accuracy); });
  add("first-layer CKA", [](const StudyLine& line) { return shown(line.first_layer_cka); });
  add("first-layer angle", [](const StudyLine& line) { return shown(line.first_layer_angle); });
  add("smoothness", [](const StudyLine& line) { return shown(line.lipschitz); });
  add("step ms", [](const StudyLine& line) { return shown(line.step_seconds, 1e3); });
  return columns;
}

}  // namespace

std::vector<StudyLine> lines_of(const std::vector<Json>& rows) {
  const std::vector<Json> sorted = by_run(rows);
  std::vector<StudyLine> lines;
  for (const Group& group : groups_of(sorted)) {
    const std::vector<const Json*> best = best_trials(group);
    std::vector<const Json*> complete = best;
    std::erase_if(complete, [](const Json* row) { return row->at("status") != "complete"; });
    const auto over_seeds = [&](const char* name) { return summarize(numbers(best, name), 0); };
    const std::vector<double> steps = numbers(complete, "steps");
    lines.push_back({.place = group.place,
                     .num_complete = num_with(group, "complete"),
                     .num_incomplete = num_with(group, "incomplete"),
                     .num_infeasible = num_with(group, "infeasible"),
                     .seed_steps = steps,
                     .steps = summarize(steps, 0),
                     .validation_loss = over_seeds("validation_loss"),
                     .validation_accuracy = over_seeds("validation_accuracy"),
                     .step_seconds = over_seeds("step_seconds"),
                     .first_layer_cka = over_seeds("first_layer_cka"),
                     .first_layer_angle = over_seeds("first_layer_angle"),
                     .lipschitz = over_seeds("lipschitz")});
  }
  return lines;
}

std::string to_text(const std::vector<StudyLine>& lines) {
  if (lines.empty()) {
    return "no run has ended yet\n";
  }
  return aligned_text(columns_of(lines));
}

std::string to_csv(const std::vector<Json>& rows) {
  constexpr std::array kNumbers = {"steps",
                                   "seconds",
                                   "step_seconds",
                                   "samples_per_step",
                                   "flops",
                                   "parallel_flops",
                                   "sparse_flops",
                                   "loss",
                                   "validation_loss",
                                   "validation_accuracy",
                                   "sent_up",
                                   "sent_down",
                                   "first_layer_cka",
                                   "first_layer_angle",
                                   "first_layer_largest_angle",
                                   "lipschitz"};
  std::string text = "run";
  const std::vector<Json> sorted = by_run(rows);
  if (!sorted.empty()) {
    for (const Json& entry : sorted.front().at("place")) {
      text += "," + csv_cell(entry.at(0));
    }
  }
  text += fmt::format(",status,{}\n", fmt::join(kNumbers, ","));
  for (const Json& row : sorted) {
    text += row.at("run").dump();
    for (const Json& entry : row.at("place")) {
      text += "," + csv_cell(entry.at(1));
    }
    text += "," + row.at("status").get<std::string>();
    for (const char* name : kNumbers) {
      text += "," + (number(row, name) ? row[name].dump() : "");
    }
    text += '\n';
  }
  return text;
}

}  // namespace halfback
