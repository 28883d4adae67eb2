// What a training run leaves behind, and what it prints at its end.
#pragma once

#include "cli/run_curves.h"
#include "halfback/train/metrics.h"
#include "halfback/train/tensorboard.h"
#include "halfback/train/training.h"
#include "halfback/train/written_files.h"

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace halfback::cli {

// The files of --report DIR: metrics.jsonl, TensorBoard events and config.toml; for the last step
// trace.json, and report.html with curves of all steps; and report.json, the list of these files.
class RunReport {
 public:
  // Makes the directory and writes config.toml. `resumed_step` is the step that the run resumes
  // from; without it, files of an older run are replaced. Throws FileError if a file with such a
  // name was not written by a run, or was altered since.
  RunReport(const std::filesystem::path& directory,
            const std::string& config_toml,
            std::string item_name,
            std::optional<std::int64_t> resumed_step);

  void add(const StepReport& step);
  // Writes the trace and the page of the last step; without spans there are none.
  void finish(const TrainingConfig& config, const Timeline& timeline);

 private:
  FileSummaries growing() const;

  std::filesystem::path directory_;
  std::string item_name_;
  WrittenFiles files_;
  RunCurves curves_;
  std::optional<MetricsLog> metrics_;
  std::optional<EventWriter> events_;
  std::int64_t last_step_ = 0;
};

// Collects steps for the closing lines.
class RunSummary {
 public:
  // `item_name` is what speed is counted in.
  RunSummary(std::string item_name, bool compares_views)
      : item_name_(std::move(item_name)), compares_views_(compares_views) {}

  void add(const StepReport& step);
  // Prints losses, speed, bubble fraction and a table of memory by rank.
  void print(std::ostream& out) const;
  const Timeline& last_timeline() const { return last_.timeline; }

 private:
  std::optional<double> first_loss_;
  std::optional<Evaluation> validation_;
  std::optional<double> bits_per_byte_;
  std::vector<double> step_seconds_;
  std::vector<double> bubbles_;
  std::string item_name_;
  bool compares_views_;
  std::int64_t num_items_ = 0;
  StepResult last_;
};

}  // namespace halfback::cli
