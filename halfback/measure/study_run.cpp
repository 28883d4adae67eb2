#include "halfback/measure/study_run.h"

#include "halfback/base/error.h"
#include "halfback/base/quantiles.h"
#include "halfback/measure/first_layer.h"
#include "halfback/measure/flop_costs.h"
#include "halfback/measure/gradient_probe.h"
#include "halfback/measure/smoothness_probe.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

namespace halfback {

namespace {

bool is_reached(const StudyTarget& target, const Evaluation& found) {
  return target.is_any() && found.loss <= target.validation_loss.value_or(found.loss) &&
         found.accuracy >= target.validation_accuracy.value_or(found.accuracy);
}

// What a step takes.
struct StepSize {
  std::int64_t samples = 0;
  StepFlops dense;
  std::optional<StepFlops> sparse;  // if weights are pruned
};

class Row {
 public:
  explicit Row(const StudyTarget& target) : target_(target) {}

  bool has_reached_target() const { return has_reached_target_; }

  void add_cosines(const std::vector<double>& cosines) { curve_["cosines"].push_back(cosines); }
  void add_lipschitz(double lipschitz) { curve_["lipschitz"].push_back(lipschitz); }

  void add(const StepReport& report) {
    const StepResult& result = *report.result;
    steps_ = report.step;
    loss_ = result.loss;
    step_seconds_.push_back(result.seconds);
    loss_since_ += result.loss;
    ++num_since_;
    sent_up_ = sent_down_ = 0;
    for (const Link& link : result.timeline.links) {
      (link.to > link.from ? sent_up_ : sent_down_) += link.bytes;
    }
    activations_.resize(result.memory.size());
    for (std::size_t rank = 0; rank < activations_.size(); ++rank) {
      activations_[rank] = std::max(activations_[rank], result.memory[rank].activations);
    }
    if (report.validation) {
      add(*report.validation);
    }
  }

  nlohmann::json finished(const std::string& status, const StepSize& step) const {
    double seconds = 0.0;
    for (const double one : step_seconds_) {
      seconds += one;
    }
    nlohmann::json row = {{"status", status},
                          {"steps", steps_},
                          {"seconds", seconds},
                          {"step_seconds", median(step_seconds_)},
                          {"samples_per_step", step.samples},
                          {"flops", static_cast<double>(steps_) * step.dense.total},
                          {"parallel_flops", static_cast<double>(steps_) * step.dense.parallel},
                          {"loss", loss_},
                          {"curve", curve_},
                          {"sent_up", sent_up_},
                          {"sent_down", sent_down_},
                          {"activation_bytes", activations_}};
    for (const char* name : {"validation_loss", "validation_accuracy"}) {
      if (!curve_[name].empty()) {
        row[name] = curve_[name].back();
      }
    }
    if (step.sparse) {
      row["sparse_flops"] = static_cast<double>(steps_) * step.sparse->total;
    }
    if (const auto found = curve_.find("lipschitz"); found != curve_.end()) {
      const auto all = found->get<std::vector<double>>();
      row["lipschitz"] =
          std::accumulate(all.begin(), all.end(), 0.0) / static_cast<double>(all.size());
    }
    return row;
  }

 private:
  void add(const Evaluation& validation) {
    curve_["step"].push_back(steps_);
    curve_["loss"].push_back(loss_since_ / num_since_);
    curve_["validation_loss"].push_back(validation.loss);
    curve_["validation_accuracy"].push_back(validation.accuracy);
    loss_since_ = 0.0;
    num_since_ = 0;
    has_reached_target_ = has_reached_target_ || is_reached(target_, validation);
  }

  const StudyTarget& target_;
  bool has_reached_target_ = false;
  std::int64_t steps_ = 0;
  double loss_ = 0.0;
  double loss_since_ = 0.0;  // sum of those since the last validation
  int num_since_ = 0;
  std::vector<double> step_seconds_;
  std::int64_t sent_up_ = 0;
  std::int64_t sent_down_ = 0;
  std::vector<std::int64_t> activations_;
  nlohmann::json curve_ = {{"step", nlohmann::json::array()},
                           {"loss", nlohmann::json::array()},
                           {"validation_loss", nlohmann::json::array()},
                           {"validation_accuracy", nlohmann::json::array()}};
};

StepFlops flops_of(const TrainingConfig& config, const std::vector<StageLayers>& stages) {
  return step_flops(*config.schedule,
                    stage_flops(stages, input_shape(config.model, samples_that_pass(config))));
}

StepSize size_of(Training& training) {
  const TrainingConfig& config = training.config();
  const std::vector<StageLayers> stages = build_stages(config);
  StepSize size{.samples = config.schedule->num_micro_batches * config.micro_batch_size,
                .dense = flops_of(config, stages),
                .sparse = {}};
  if (config.pruning.sparsity > 0.0) {
    for (std::size_t stage = 0; stage < stages.size(); ++stage) {
      const std::vector<Parameter*> own = stages[stage].parameters();
      const std::vector<Parameter*> pruned =
          training.pipeline().stage(static_cast<int>(stage)).layers().parameters();
      for (std::size_t i = 0; i < own.size(); ++i) {
        own[i]->num_pruned = pruned[i]->num_pruned;
      }
    }
    size.sparse = flops_of(config, stages);
  }
  return size;
}

// Measures the smoothness along the update in front of each validation.
class UpdateProbe {
 public:
  UpdateProbe(Training& training, std::int64_t num_samples, std::int64_t step_samples)
      : config_(training.config()),
        probe_(training.pipeline(), batches(training, num_samples, step_samples)) {
    probe_.note_values();
  }

  void add(const StepReport& report, Row& row) {
    if (report.validation) {
      row.add_lipschitz(probe_.lipschitz());
    }
    const std::int64_t next = report.step + 1;
    if (next == config_.num_steps ||
        (config_.evaluate_every > 0 && next % config_.evaluate_every == 0)) {
      probe_.note_values();
    }
  }

 private:
  static std::vector<std::vector<MicroBatch>> batches(Training& training,
                                                      std::int64_t num_samples,
                                                      std::int64_t step_samples) {
    if (has_updates(*training.config().schedule)) {
      throw ConfigError(
          "study: [measure] lipschitz needs the values between two steps, and the schedule has "
          "no barrier there; use one without U, such as 1f1b");
    }
    std::vector<std::vector<MicroBatch>> all;
    for (std::int64_t step = 1; step <= std::max<std::int64_t>(1, num_samples / step_samples);
         ++step) {
      all.push_back(training.micro_batches(step));
    }
    return all;
  }

  const TrainingConfig& config_;
  SmoothnessProbe probe_;
};

}  // namespace

nlohmann::json train_for_study(const TrainingConfig& config,
                               const StudyTarget& target,
                               const StudyMeasures& measures,
                               const std::filesystem::path& first_layer,
                               const std::function<void(const StepReport&)>& on_step) {
  Training training(config);
  std::optional<GradientProbe> probe;
  if (measures.cosines) {
    probe.emplace(training.config());
  }
  const StepSize size = size_of(training);
  std::optional<UpdateProbe> smoothness;
  if (measures.lipschitz > 0) {
    smoothness.emplace(training, measures.lipschitz, size.samples);
  }
  Row row(target);
  std::atomic<bool> stop{false};
  try {
    training.run(
        [&](const StepReport& report) {
          row.add(report);
          if (probe && report.validation) {
            row.add_cosines(
                probe->cosines(training.pipeline(), training.micro_batches(report.step)));
          }
          if (smoothness) {
            smoothness->add(report, row);
          }
          stop = row.has_reached_target();
          if (on_step) {
            on_step(report);
          }
        },
        stop);
  } catch (const DivergedError&) {
    return row.finished("infeasible", size);
  }
  if (measures.first_layer) {
    save_first_layer(training.config(), training.pipeline(), first_layer);
  }
  const bool is_complete = row.has_reached_target() || !target.is_any();
  return row.finished(is_complete ? "complete" : "incomplete", size);
}

}  // namespace halfback
