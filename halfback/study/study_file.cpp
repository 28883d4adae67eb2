#include "halfback/study/study_file.h"

#include "halfback/base/error.h"
#include "halfback/base/text.h"
#include "halfback/base/toml.h"
#include "halfback/study/sobol.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <utility>

namespace halfback {

namespace {

class Reader {
 public:
  explicit Reader(const std::filesystem::path& path) : path_(path.string()) {}

  Study read() {
    const toml::table root = read_toml(path_, "study file");
    Study study;
    for (const auto& [key, node] : in_order(root)) {
      if (key == "run") {
        study.common = settings_of(table(key, node));
      } else if (key == "grid") {
        study.axes = axes_of(table(key, node));
      } else if (key == "trials") {
        study.trials = trials_of(table(key, node));
      } else if (key == "target") {
        study.target = target_of(table(key, node));
      } else if (key == "measure") {
        study.measures = measures_of(table(key, node));
      } else {
        fail_unknown(key, *node, {"run", "grid", "trials", "target", "measure"});
      }
    }
    return study;
  }

 private:
  using Entries = std::vector<std::pair<std::string, const toml::node*>>;

  // TOML's tables are sorted by key; a study is read as it is written.
  static Entries in_order(const toml::table& table) {
    Entries entries;
    for (const auto& [key, node] : table) {
      entries.emplace_back(key.str(), &node);
    }
    std::ranges::sort(entries, {}, [](const auto& entry) {
      const toml::source_position at = entry.second->source().begin;
      return std::pair(at.line, at.column);
    });
    return entries;
  }

  std::string where(const toml::node& node, const std::string& key) const {
    return fmt::format("{}:{}: {}", path_, node.source().begin.line, key);
  }

  [[noreturn]] void fail_unknown(const std::string& key,
                                 const toml::node& node,
                                 const std::vector<std::string>& known) const {
    throw ConfigError(fmt::format("{} is not known here{}; expected {}", where(node, key),
                                  suggestion(key, known), fmt::join(known, ", ")));
  }

  const toml::table& table(const std::string& key, const toml::node* node) const {
    if (const toml::table* found = node->as_table()) {
      return *found;
    }
    throw ConfigError(fmt::format("{} is not a table; write [{}]", where(*node, key), key));
  }

  // The text that train would get.
  std::string text(const std::string& key, const toml::node& node) const {
    if (const auto found = option_text(node)) {
      return *found;
    }
    throw ConfigError(
        fmt::format("{} is a list, a table or a date; expected one value", where(node, key)));
  }

  double number(const std::string& key, const toml::node& node) const {
    if (const std::optional<double> found = node.value<double>(); found && !node.is_string()) {
      return *found;
    }
    throw ConfigError(fmt::format("{}: expected a number, as in 0.5", where(node, key)));
  }

  bool truth(const std::string& key, const toml::node& node) const {
    if (const std::optional<bool> found = node.value_exact<bool>()) {
      return *found;
    }
    throw ConfigError(fmt::format("{}: expected true or false without quotes", where(node, key)));
  }

  std::int64_t whole_number(const std::string& key, const toml::node& node) const {
    if (const auto found = node.value_exact<std::int64_t>(); found && *found >= 1) {
      return *found;
    }
    throw ConfigError(fmt::format("{}: expected a whole number of 1 or more", where(node, key)));
  }

  // An option stands in one place.
  void claim(const std::string& option, const toml::node& node) {
    if (!claimed_.insert(option).second) {
      throw ConfigError(fmt::format("{} is given in another place too; leave one of them out",
                                    where(node, option)));
    }
  }

  std::vector<Setting> settings_of(const toml::table& table) {
    std::vector<Setting> settings;
    for (const auto& [key, node] : in_order(table)) {
      claim(key, *node);
      settings.push_back({key, text(key, *node)});
    }
    return settings;
  }

  StudyAxis::Value value_of(const std::string& axis, const toml::node& node) const {
    const toml::table* several = node.as_table();
    if (several == nullptr) {
      const std::string found = text(axis, node);
      return {found, {{axis, found}}};
    }
    StudyAxis::Value value;
    for (const auto& [key, one] : in_order(*several)) {
      if (key == "name") {
        value.label = text(key, *one);
      } else {
        value.settings.push_back({key, text(key, *one)});
      }
    }
    if (value.label.empty()) {
      throw ConfigError(
          fmt::format("{}: a value that is a table needs a name, for tables and "
                      "figures",
                      where(node, axis)));
    }
    return value;
  }

  std::vector<StudyAxis> axes_of(const toml::table& table) {
    std::vector<StudyAxis> axes;
    for (const auto& [key, node] : in_order(table)) {
      const toml::array* const list = node->as_array();
      if (list == nullptr || list->empty()) {
        throw ConfigError(
            fmt::format("{}: expected a list of values, such as [1, 2, 3]", where(*node, key)));
      }
      StudyAxis& axis = axes.emplace_back(StudyAxis{.name = key, .values = {}});
      std::set<std::string> options;
      std::set<std::string> labels;
      for (const toml::node& item : *list) {
        axis.values.push_back(value_of(key, item));
        if (!labels.insert(axis.values.back().label).second) {
          throw ConfigError(fmt::format("{}: '{}' stands there twice", where(item, key),
                                        axis.values.back().label));
        }
        for (const Setting& setting : axis.values.back().settings) {
          options.insert(setting.option);
        }
      }
      for (const std::string& option : options) {
        claim(option, *node);
      }
    }
    return axes;
  }

  Range range_of(const std::string& option, const toml::node& node) const {
    Range range;
    for (const auto& [key, one] : in_order(table(option, &node))) {
      if (key == "low") {
        range.low = number(key, *one);
      } else if (key == "high") {
        range.high = number(key, *one);
      } else if (key == "integer") {
        range.is_integer = truth(key, *one);
      } else if (key == "scale") {
        range.scale = scale_of(text(key, *one), *one);
      } else {
        fail_unknown(key, *one, {"low", "high", "scale", "integer"});
      }
    }
    check(range, where(node, option));
    return range;
  }

  Range::Scale scale_of(const std::string& name, const toml::node& node) const {
    using Scale = Range::Scale;
    const std::vector<std::pair<std::string, Scale>> known = {
        {"linear", Scale::Linear}, {"log", Scale::Log}, {"reverse-log", Scale::ReverseLog}};
    for (const auto& [one, scale] : known) {
      if (one == name) {
        return scale;
      }
    }
    fail_unknown(name, node, {"linear", "log", "reverse-log"});
  }

  StudyTrials trials_of(const toml::table& table) {
    StudyTrials trials;
    for (const auto& [key, node] : in_order(table)) {
      if (key == "count") {
        trials.count = static_cast<int>(std::min<std::int64_t>(whole_number(key, *node), 1 << 20));
      } else if (key == "seed") {
        trials.seed = static_cast<std::uint64_t>(whole_number(key, *node));
      } else {
        claim(key, *node);
        trials.options.push_back({key, range_of(key, *node)});
      }
    }
    if (trials.options.empty() ||
        trials.options.size() > static_cast<std::size_t>(kMaxSobolDimensions)) {
      throw ConfigError(fmt::format("{}: [trials] has {} ranges; expected 1 to {}", path_,
                                    trials.options.size(), kMaxSobolDimensions));
    }
    return trials;
  }

  StudyTarget target_of(const toml::table& table) const {
    StudyTarget target;
    for (const auto& [key, node] : in_order(table)) {
      if (key == "validation-loss") {
        target.validation_loss = number(key, *node);
      } else if (key == "validation-accuracy") {
        target.validation_accuracy = number(key, *node);
      } else {
        fail_unknown(key, *node, {"validation-loss", "validation-accuracy"});
      }
    }
    return target;
  }

  StudyMeasures measures_of(const toml::table& table) const {
    StudyMeasures measures;
    for (const auto& [key, node] : in_order(table)) {
      if (key == "cosines") {
        measures.cosines = truth(key, *node);
      } else if (key == "first-layer") {
        measures.first_layer = truth(key, *node);
      } else if (key == "lipschitz") {
        measures.lipschitz = whole_number(key, *node);
      } else {
        fail_unknown(key, *node, {"cosines", "first-layer", "lipschitz"});
      }
    }
    return measures;
  }

  std::string path_;
  std::set<std::string> claimed_;  // options
};

void add_trial(const StudyTrials& trials, int number, StudyRun& run) {
  const std::vector<double> point = scrambled_sobol_point(
      static_cast<std::uint32_t>(number), static_cast<int>(trials.options.size()), trials.seed);
  run.place.push_back({"trial", std::to_string(number)});
  for (std::size_t i = 0; i < trials.options.size(); ++i) {
    const auto& [name, range] = trials.options[i];
    const Setting drawn{name, fmt::format("{}", range.value(point[i]))};
    run.place.push_back(drawn);
    run.settings.push_back(drawn);
  }
}

}  // namespace

std::string place_text(const std::vector<Setting>& place) {
  std::string text;
  for (const auto& [axis, label] : place) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", axis, label);
  }
  return text;
}

Study load_study(const std::filesystem::path& path) { return Reader(path).read(); }

std::vector<StudyRun> runs_of(const Study& study) {
  std::vector<StudyRun> runs = {{.number = 0, .place = {}, .settings = study.common}};
  for (const StudyAxis& axis : study.axes) {
    std::vector<StudyRun> longer;
    for (const StudyRun& run : runs) {
      for (const StudyAxis::Value& value : axis.values) {
        StudyRun& next = longer.emplace_back(run);
        next.place.push_back({axis.name, value.label});
        next.settings.insert(next.settings.end(), value.settings.begin(), value.settings.end());
      }
    }
    runs = std::move(longer);
  }
  if (!study.trials.options.empty()) {
    std::vector<StudyRun> longer;
    for (const StudyRun& run : runs) {
      for (int trial = 0; trial < study.trials.count; ++trial) {
        add_trial(study.trials, trial, longer.emplace_back(run));
      }
    }
    runs = std::move(longer);
  }
  for (std::size_t i = 0; i < runs.size(); ++i) {
    runs[i].number = static_cast<int>(i);
  }
  return runs;
}

}  // namespace halfback
