#include "halfback/base/error.h"
#include "halfback/engine/byte_probe.h"
#include "halfback/engine/clock.h"
#include "halfback/engine/pipeline_rank.h"
#include "halfback/schedule/passes.h"

#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace halfback {

namespace {

std::vector<double> over(std::vector<double> sums, double count) {
  for (double& sum : sums) {
    sum /= count;
  }
  return sums;
}

// Puts what the ranks report about one step on the clock of its first rank.
void collect(std::vector<RankReport> reports, StepResult& result) {
  result.timeline.num_ranks = static_cast<int>(reports.size());
  for (RankReport& report : reports) {
    result.memory.push_back(report.memory);
    result.is_stop_asked = result.is_stop_asked || report.is_stop_asked;
    result.timeline.links.insert(result.timeline.links.end(), report.links.begin(),
                                 report.links.end());
    // The spans of another process count from its own start of the step.
    const double shift = report.origin_seconds - reports.front().origin_seconds;
    for (Span& span : report.spans) {
      span.start_seconds += shift;
      span.end_seconds += shift;
      result.timeline.spans.push_back(span);
    }
  }
}

// Returns how many micro-batches the last rank of a replica is behind the first in a long run. Each
// is behind the one below by what it receives before its first F: one micro-batch, and a queue.
int num_behind(const Schedule& schedule) {
  int sum = 0;
  for (const std::vector<Action>& list : schedule.ranks) {
    const auto first = std::ranges::find(list, ActionKind::Forward, &Action::kind);
    sum += static_cast<int>(std::count_if(list.begin(), first, [](const Action& action) {
      return action.kind == ActionKind::RecvForward;
    }));
  }
  return std::max(sum / schedule.placement.num_replicas(),
                  ranks_per_replica(schedule.placement) - 1);
}

}  // namespace

// The first rank needs one more step to continue with while the results of the oldest are
// collected.
int Pipeline::most_begun() const {
  if (!updates_in_lists_) {
    return 1;
  }
  const int num_batches = std::max(num_micro_batches() / schedule_.placement.num_replicas(), 1);
  return 2 + (num_behind(schedule_) + num_batches - 1) / num_batches;
}

StepContext Pipeline::context_of(std::span<const MicroBatch> micro_batches) const {
  HALFBACK_CHECK(static_cast<int>(micro_batches.size()) == num_micro_batches(),
                 fmt::format("{} micro-batches", micro_batches.size()));
  return {.schedule = &schedule_,
          .loss_scale = update_.loss_scale().value() / loss_divisor(micro_batches),
          .group_ends = group_ends_,
          .updates_in_lists = updates_in_lists_,
          .update = {.number = 0},
          .origin_seconds = now_seconds()};
}

void Pipeline::begin(std::unique_ptr<Step> step) {
  HALFBACK_CHECK(begun_.empty() || num_begun() < most_begun(), "steps are finished in time");
  step->context.micro_batches = step->micro_batches;
  step->runs_ahead = !begun_.empty();
  for (const auto& [number, rank] : ranks_) {
    step->reports[number];
    if (!step->runs_ahead) {
      rank->begin_memory();
    }
  }
  step->begun = threads_->begin(
      [this, running = step.get()](int number) { ranks_.at(number)->run(*running); });
  begun_.push_back(std::move(step));
}

// The oldest step that was begun, with the reports of all ranks and what they add up to.
struct Pipeline::Finished {
  std::unique_ptr<Step> step = {};
  std::vector<RankReport> reports = {};
  StepTotals::Sums totals = {};
};

// What fails leaves its step among those that were begun, since ranks may still work on it.
Pipeline::Finished Pipeline::finish() {
  HALFBACK_CHECK(!begun_.empty(), "a step was begun");
  const Step& step = *begun_.front();
  threads_->wait(*step.begun);
  Finished finished;
  try {
    finished.reports = all_reports(step);
  } catch (const StoppedError&) {
    throw TransportError("the run was stopped from outside");
  } catch (...) {
    network_->stop();
    throw;
  }
  std::vector<std::vector<double>> totals;
  for (const RankReport& report : finished.reports) {
    totals.push_back(report.totals);
  }
  finished.totals = totals_->add_up(totals, step.context);
  finished.step = std::move(begun_.front());
  begun_.pop_front();
  return finished;
}

// Each process sends what its ranks report to all others, one report after the other, with their
// lengths in front.
std::vector<RankReport> Pipeline::all_reports(const Step& step) {
  const c10::InferenceMode no_graph;
  std::vector<RankReport> all;
  if (first_ranks_->size() == 1) {
    for (const auto& [number, report] : step.reports) {
      all.push_back(report);
    }
    return all;
  }
  std::vector<double> own;
  for (const auto& [number, report] : step.reports) {
    const std::vector<double> numbers = to_numbers(report);
    own.push_back(static_cast<double>(numbers.size()));
    own.insert(own.end(), numbers.begin(), numbers.end());
  }
  for (const std::vector<double>& process : first_ranks_->all_gather(own)) {
    for (std::size_t i = 0; i < process.size();) {
      const auto size = static_cast<std::size_t>(process[i]);
      all.push_back(
          rank_report_of(static_cast<int>(all.size()), std::span(process).subspan(i + 1, size)));
      i += 1 + size;
    }
  }
  return all;
}

void Pipeline::begin_step(std::span<const MicroBatch> micro_batches, const StepOptions& options) {
  StepContext context = context_of(micro_batches);
  context.updates = true;
  context.refreshes_copies = (options.number - 1) % options_.head_refresh == 0;
  context.update = {.number = options.number, .learning_rate = options.learning_rate};
  begin(std::make_unique<Step>(Step{.micro_batches = {micro_batches.begin(), micro_batches.end()},
                                    .context = context,
                                    .stop = options.stop}));
}

StepResult Pipeline::finish_step() {
  auto [step, reports, totals] = finish();
  StepResult result;
  result.loss_scale = update_.loss_scale().value();
  result.losses = over(totals.losses, loss_divisor(step->micro_batches));
  result.loss = result.losses.back();
  result.gradient_norm = std::sqrt(totals.squared_norm);
  if (step->context.updates && update_.loss_scale().is_dynamic()) {
    result.was_skipped = update_.loss_scale().skips(result.gradient_norm);
    update_.loss_scale().finish_step(result.was_skipped);
  }
  // From the end of the step before, if that came later than the beginning.
  double end = 0.0;
  for (const RankReport& report : reports) {
    end = std::max(end, report.origin_seconds + report.end_seconds);
  }
  result.seconds = end - std::max(reports.front().origin_seconds, last_end_seconds_);
  last_end_seconds_ = end;
  collect(std::move(reports), result);
  return result;
}

StepResult Pipeline::train_step(std::span<const MicroBatch> micro_batches,
                                const StepOptions& options) {
  HALFBACK_CHECK(begun_.empty(), "no step was begun");
  begin_step(micro_batches, options);
  return finish_step();
}

StepResult Pipeline::accumulate_gradients(std::span<const MicroBatch> micro_batches,
                                          std::int64_t number) {
  HALFBACK_CHECK(begun_.empty(), "no step was begun");
  StepContext context = context_of(micro_batches);
  context.update.number = number;
  begin(std::make_unique<Step>(
      Step{.micro_batches = {micro_batches.begin(), micro_batches.end()}, .context = context}));
  return finish_step();
}

std::vector<StageBytes> Pipeline::measure_bytes(const MicroBatch& micro_batch) {
  HALFBACK_CHECK(
      begun_.empty() && schedule_.losses.is_backprop() && schedule_.placement.num_replicas() == 1,
      "no step was begun, and one loss trains one replica of the weights");
  other_ = probe_schedule(schedule_);
  const std::span batch(&micro_batch, 1);
  begin(std::make_unique<Step>(Step{.micro_batches = {micro_batch},
                                    .context = {.schedule = &other_,
                                                .loss_scale = 1.0 / loss_divisor(batch),
                                                .origin_seconds = now_seconds()},
                                    .probes = true}));
  std::vector<StageBytes> all(static_cast<std::size_t>(num_stages()));
  for (const RankReport& report : finish().reports) {
    for (const auto& [stage, bytes] : report.stages) {
      all[static_cast<std::size_t>(stage)] = bytes;
    }
  }
  return all;
}

Evaluation Pipeline::evaluate(std::span<const MicroBatch> micro_batches) {
  HALFBACK_CHECK(!micro_batches.empty() && begun_.empty(), "micro-batches, and no step was begun");
  other_ = forward_only(schedule_, static_cast<int>(micro_batches.size()));
  begin(std::make_unique<Step>(Step{
      .micro_batches = {micro_batches.begin(), micro_batches.end()},
      .context = {.schedule = &other_, .is_training = false, .origin_seconds = now_seconds()}}));
  const StepTotals::Sums totals = finish().totals;
  const double count = loss_divisor(micro_batches);
  Evaluation found{.losses = over(totals.losses, count),
                   .accuracies = over(totals.num_correct, count)};
  found.loss = found.losses.back();
  found.accuracy = found.accuracies.back();
  return found;
}

std::string Pipeline::positions() const {
  const std::lock_guard lock(running_mutex_);
  std::string text;
  for (const auto& [number, rank] : ranks_) {
    text += (text.empty() ? "" : "; ") + rank->where();
  }
  return text;
}

}  // namespace halfback
