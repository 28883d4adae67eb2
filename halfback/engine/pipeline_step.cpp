// The steps of a pipeline.
#include "halfback/base/error.h"
#include "halfback/engine/clock.h"
#include "halfback/engine/pipeline_rank.h"
#include "halfback/schedule/passes.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <iterator>
#include <string>
#include <utility>

namespace halfback {

RankReport Pipeline::Rank::report(const Transport& transport) {
  RankReport made;
  for (const auto& [stage_number, stage] : stages) {
    const StateBytes bytes = stage->state_bytes();
    made.memory.parameters += bytes.parameters;
    made.memory.gradients += bytes.gradients;
    made.memory.optimizer_state += bytes.optimizer;
  }
  made.memory.activations = executor.peak_between_actions() - idle_bytes;
  made.memory.peak = device.peak_bytes();
  made.spans = executor.spans();
  for (const LinkUse& use : transport.links(number)) {
    Link& before = sent[use.route.to];
    made.links.push_back({.from = number,
                          .to = use.route.to,
                          .messages = use.messages - before.messages,
                          .bytes = use.bytes - before.bytes,
                          .seconds = use.seconds - before.seconds});
    before = {number, use.route.to, use.messages, use.bytes, use.seconds};
  }
  return made;
}

namespace {

bool is_stop_asked(const Pipeline::StepOptions* options) {
  return options != nullptr && options->stop != nullptr && options->stop->load();
}

}  // namespace

StepResult Pipeline::train_step(std::span<const MicroBatch> micro_batches,
                                const StepOptions& options) {
  return run(micro_batches, &options);
}

StepResult Pipeline::accumulate_gradients(std::span<const MicroBatch> micro_batches) {
  return run(micro_batches, nullptr);
}

StepResult Pipeline::run(std::span<const MicroBatch> micro_batches, const StepOptions* update) {
  HALFBACK_CHECK(static_cast<int>(micro_batches.size()) == num_micro_batches(),
                 fmt::format("{} micro-batches", micro_batches.size()));
  const auto targets = static_cast<double>(num_targets(micro_batches));
  const StepContext context{
      .schedule = &schedule_,
      .micro_batches = micro_batches,
      .loss_scale = update_.loss_scale().value() / targets,
      .group_ends = group_ends_,
      .updates = update != nullptr,
      .updates_in_lists = updates_in_lists_,
      .update = update != nullptr ? StageUpdate::Step{.number = update->number,
                                                      .learning_rate = update->learning_rate}
                                  : StageUpdate::Step{.number = 0},
      .origin_seconds = now_seconds()};
  run_all(context, update);
  StepResult result;
  result.loss_scale = update_.loss_scale().value();
  result.seconds = now_seconds() - context.origin_seconds;
  const StepTotals::Sums& totals = ranks_.begin()->second->totals;
  result.loss = totals.loss / targets;
  result.gradient_norm = std::sqrt(totals.squared_norm);
  if (update != nullptr) {
    result.was_skipped = update_.loss_scale().skips(result.gradient_norm);
    update_.loss_scale().finish_step(result.was_skipped);
  }
  collect(result);
  return result;
}

Evaluation Pipeline::evaluate(std::span<const MicroBatch> micro_batches) {
  HALFBACK_CHECK(!micro_batches.empty(), "no micro-batches");
  forward_ = forward_only(schedule_, static_cast<int>(micro_batches.size()));
  run_all({.schedule = &forward_,
           .micro_batches = micro_batches,
           .is_training = false,
           .origin_seconds = now_seconds()},
          nullptr);
  const StepTotals::Sums& totals = ranks_.begin()->second->totals;
  const auto count = static_cast<double>(num_targets(micro_batches));
  return {.loss = totals.loss / count, .accuracy = totals.num_correct / count};
}

void Pipeline::set_running(const Schedule* schedule) {
  const std::lock_guard lock(running_mutex_);
  running_ = schedule;
}

std::string Pipeline::positions() const {
  const std::lock_guard lock(running_mutex_);
  std::string text;
  for (const auto& [number, rank] : ranks_) {
    text += fmt::format("{}rank {} is ", text.empty() ? "" : "; ", number);
    if (running_ == nullptr) {
      text += "between two steps";
      continue;
    }
    const auto& list = running_->ranks[static_cast<std::size_t>(number)];
    const auto position = static_cast<std::size_t>(rank->executor.position());
    text += position < list.size()
                ? fmt::format("at position {}, {}", position, to_string(list[position]))
                : "at the end of the step";
  }
  return text;
}

void Pipeline::run_all(const StepContext& context, const StepOptions* update) {
  for (const auto& [number, rank] : ranks_) {
    rank->device.reset_peak();
    rank->idle_bytes = rank->device.live_bytes();
  }
  set_running(context.schedule);
  std::atomic<bool> was_stopped{false};
  threads_->run([&](int number) {
    Rank& rank = *ranks_.at(number);
    const auto where = [&] {
      const auto& list = context.schedule->ranks[static_cast<std::size_t>(number)];
      const auto position = static_cast<std::size_t>(rank.executor.position());
      return position < list.size() ? fmt::format("rank {}, position {}, {}", number, position,
                                                  to_string(list[position]))
                                    : fmt::format("rank {}, end of the step", number);
    };
    try {
      run_rank(rank, context, update);
    } catch (const StoppedError&) {
      was_stopped = true;  // another rank's error is the one to tell
    } catch (const TransportError& error) {
      const std::string text = fmt::format("{}: {}; {}", where(), error.what(), positions());
      network_->stop();
      throw TransportError(text);
    } catch (const ScheduleError& error) {
      network_->stop();
      throw ScheduleError(fmt::format("{}: {}", where(), error.what()));
    } catch (const c10::Error& error) {
      network_->stop();
      throw Error(fmt::format("{}: {}", where(), error.what_without_backtrace()));
    } catch (const std::exception& error) {
      network_->stop();
      throw Error(fmt::format("{}: {}", where(), error.what()));
    }
  });
  set_running(nullptr);
  if (was_stopped) {
    throw TransportError("the run was stopped from outside");
  }
}

void Pipeline::run_rank(Rank& rank, const StepContext& context, const StepOptions* update) {
  rank.device.wait_for_others();
  rank.runner.begin(context);
  rank.executor.run(*context.schedule, context.origin_seconds);
  rank.runner.end_list();
  if (context.is_training) {
    rank.executor.add_reductions(rank.runner.finish_gradients());
  }
  rank.totals = totals_->add_up(
      rank.world.all_gather(StepTotals::of_rank(rank.runner, context.is_training)), context);
  if (context.updates && !context.updates_in_lists &&
      !update_.loss_scale().skips(rank.totals.squared_norm)) {
    rank.runner.set_model_norm(std::sqrt(rank.totals.squared_norm));
    for (const auto& [number, stage] : rank.stages) {
      rank.executor.run_behind({ActionKind::Update, number, 0});
    }
    if (options_.shards_optimizer) {
      rank.replicas.share_updates();
    }
  }
  if (context.is_training) {
    RankReport report = rank.report(*network_);
    report.is_stop_asked = is_stop_asked(update);
    report.origin_seconds = context.origin_seconds + options_.clock_offset_seconds;
    exchange_reports(rank, std::move(report));
  }
}

// Where all ranks are here, each keeps its own.
void Pipeline::exchange_reports(Rank& rank, RankReport own) {
  rank.reports.clear();
  if (has_all_ranks()) {
    rank.reports.push_back(std::move(own));
    return;
  }
  for (const auto& numbers : rank.world.all_gather(to_numbers(own))) {
    rank.reports.push_back(rank_report_of(static_cast<int>(rank.reports.size()), numbers));
  }
}

void Pipeline::collect(StepResult& result) {
  std::vector<RankReport> reports;
  for (const auto& [number, rank] : ranks_) {
    if (has_all_ranks() || reports.empty()) {  // else each has those of all
      std::move(rank->reports.begin(), rank->reports.end(), std::back_inserter(reports));
    }
  }
  result.timeline.num_ranks = static_cast<int>(reports.size());
  for (const RankReport& report : reports) {
    result.memory.push_back(report.memory);
    result.is_stop_asked = result.is_stop_asked || report.is_stop_asked;
    result.timeline.links.insert(result.timeline.links.end(), report.links.begin(),
                                 report.links.end());
    // Of another process: its spans count from its own begin of the step.
    const double shift = report.origin_seconds - reports.front().origin_seconds;
    for (Span span : report.spans) {
      span.start_seconds += shift;
      span.end_seconds += shift;
      result.timeline.spans.push_back(span);
    }
  }
}

}  // namespace halfback
