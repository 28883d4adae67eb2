#include "halfback/measure/run_estimate.h"

#include "halfback/base/quantiles.h"
#include "halfback/measure/study_run.h"
#include "halfback/train/training.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <vector>

namespace halfback {

namespace {

constexpr std::size_t kWarmup = 2;

Duration now() {
  return {
      std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(),
      static_cast<double>(std::clock()) / CLOCKS_PER_SEC};
}

Duration operator-(const Duration& end, const Duration& begin) {
  return {std::max(0.0, end.seconds - begin.seconds),
          std::max(0.0, end.cpu_seconds - begin.cpu_seconds)};
}

}  // namespace

Duration RunEstimate::run(std::int64_t num_steps, std::int64_t num_evaluations) const {
  const auto sum = [&](double Duration::*part) {
    return setup.*part + static_cast<double>(num_steps) * (step.*part) +
           static_cast<double>(num_evaluations) * (evaluation.*part);
  };
  return {sum(&Duration::seconds), sum(&Duration::cpu_seconds)};
}

RunEstimate estimate_run(TrainingConfig config, StudyMeasures measures) {
  measures.first_layer = false;
  config.num_steps = kWarmup + kEstimateSteps + 1;
  config.evaluate_every = config.evaluate_every > 0 ? config.num_steps : 0;
  config.checkpoint.clear();
  std::vector<Duration> ends = {now()};
  const nlohmann::json row = train_for_study(
      config, {}, measures, {}, [&](const StepReport& /*report*/) { ends.push_back(now()); });
  if (ends.size() < kWarmup + kEstimateSteps + 2) {
    return {};  // it has diverged, and so will the run
  }
  std::vector<double> seconds;
  std::vector<double> cpu_seconds;
  for (std::size_t i = kWarmup + 1; i <= kWarmup + kEstimateSteps; ++i) {
    const Duration one = ends[i] - ends[i - 1];
    seconds.push_back(one.seconds);
    cpu_seconds.push_back(one.cpu_seconds);
  }
  RunEstimate estimate;
  estimate.step = {median(std::move(seconds)), median(std::move(cpu_seconds))};
  estimate.setup = (ends[1] - ends[0]) - estimate.step;
  if (config.evaluate_every > 0) {
    estimate.evaluation = (ends.back() - ends[ends.size() - 2]) - estimate.step;
  }
  estimate.flops_per_step = row.at("flops").get<double>() / static_cast<double>(config.num_steps);
  return estimate;
}

std::int64_t num_evaluations(const TrainingConfig& config) {
  const std::int64_t every = config.evaluate_every;
  return every > 0 ? (config.num_steps + every - 1) / every : 0;
}

}  // namespace halfback
