#include "halfback/measure/study_run.h"

#include "halfback/base/error.h"
#include "halfback/base/quantiles.h"
#include "halfback/measure/first_layer.h"
#include "halfback/measure/flop_costs.h"
#include "halfback/measure/gradient_probe.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace halfback {

namespace {

bool is_reached(const StudyTarget& target, const Evaluation& found) {
  return target.is_any() && found.loss <= target.validation_loss.value_or(found.loss) &&
         found.accuracy >= target.validation_accuracy.value_or(found.accuracy);
}

class Row {
 public:
  explicit Row(const StudyTarget& target) : target_(target) {}

  bool has_reached_target() const { return has_reached_target_; }

  void add_cosines(const std::vector<double>& cosines) { curve_["cosines"].push_back(cosines); }

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

  nlohmann::json finished(const std::string& status,
                          std::int64_t samples_per_step,
                          const StepFlops& flops) const {
    double seconds = 0.0;
    for (const double one : step_seconds_) {
      seconds += one;
    }
    nlohmann::json row = {{"status", status},
                          {"steps", steps_},
                          {"seconds", seconds},
                          {"step_seconds", median(step_seconds_)},
                          {"samples_per_step", samples_per_step},
                          {"flops", static_cast<double>(steps_) * flops.total},
                          {"parallel_flops", static_cast<double>(steps_) * flops.parallel},
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

StepFlops flops_of(const TrainingConfig& config) {
  return step_flops(
      *config.schedule,
      stage_flops(build_stages(config), input_shape(config.model, samples_that_pass(config))));
}

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
  const std::int64_t samples =
      training.config().schedule->num_micro_batches * training.config().micro_batch_size;
  const StepFlops flops = flops_of(training.config());
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
          stop = row.has_reached_target();
          if (on_step) {
            on_step(report);
          }
        },
        stop);
  } catch (const DivergedError&) {
    return row.finished("infeasible", samples, flops);
  }
  if (measures.first_layer) {
    save_first_layer(training.config(), training.pipeline(), first_layer);
  }
  const bool is_complete = row.has_reached_target() || !target.is_any();
  return row.finished(is_complete ? "complete" : "incomplete", samples, flops);
}

}  // namespace halfback
