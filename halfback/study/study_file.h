// A study as its file says it: runs of `halfback train` that differ in some options.
//
//     [run]                                  # options of every run
//     data = "/usr/share/datasets/fashion-mnist"
//     model = "mlp"
//     [grid]                                 # every combination
//     scheme = ["backprop", {name = "two chunks", scheme = "chunked", chunks = 2}]
//     seed = [1, 2, 3]
//     [trials]                               # for each combination, some points of these ranges
//     count = 16
//     learning-rate = {low = 1e-4, high = 1.0, scale = "log"}
//     [target]                               # where a run may end
//     validation-accuracy = 0.85
//     [measure]                              # besides losses
//     cosines = true
//     lipschitz = 2000                     # samples
//
// Keys are options of train without "--"; a value of the grid that is a table sets several.
#pragma once

#include "halfback/study/range.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

namespace halfback {

// An option of train, and its value as text.
struct Setting {
  std::string option;
  std::string value;

  bool operator==(const Setting&) const = default;
  bool operator<(const Setting& other) const {
    return std::tie(option, value) < std::tie(other.option, other.value);
  }
};

// Returns "scheme greedy, seed 2".
std::string place_text(const std::vector<Setting>& place);

// A list of values, of which each run has one.
struct StudyAxis {
  struct Value {
    std::string label;
    std::vector<Setting> settings;

    bool operator==(const Value&) const = default;
  };
  std::string name;
  std::vector<Value> values;

  bool operator==(const StudyAxis&) const = default;
};

struct StudyTrials {
  struct Option {
    std::string name;
    Range range;
  };
  int count = 1;
  std::uint64_t seed = 1;
  std::vector<Option> options;
};

// A run ends at the first validation that has both, as far as given.
struct StudyTarget {
  std::optional<double> validation_loss;      // at most
  std::optional<double> validation_accuracy;  // at least

  bool is_any() const { return validation_loss || validation_accuracy; }
};

// What a run notes besides losses.
struct StudyMeasures {
  bool cosines = false;      // of the gradients with those of backprop, at each validation
  bool first_layer = false;  // its weights and activations, at the end
  // How smooth the loss is along the last update, at each validation: training samples whose
  // gradient it takes; 0: not measured.
  std::int64_t lipschitz = 0;
};

struct Study {
  std::vector<Setting> common;
  std::vector<StudyAxis> axes;
  StudyTrials trials;
  StudyTarget target;
  StudyMeasures measures;
};

// Reads a file. Throws FileError for one that cannot be read or is no TOML; ConfigError, with the
// line, for an unknown key of the study itself, a value of the wrong kind, an empty list, an option
// that is given twice, or a range that check() refuses. Which options train has is not known here.
Study load_study(const std::filesystem::path& path);

// One run: where it stands in the study, and what train gets.
struct StudyRun {
  int number = 0;
  std::vector<Setting> place;     // the label on each axis; with trials, the trial and its values
  std::vector<Setting> settings;  // of train
};

// Returns all runs: the last axis changes first, and trials before it.
std::vector<StudyRun> runs_of(const Study& study);

}  // namespace halfback
