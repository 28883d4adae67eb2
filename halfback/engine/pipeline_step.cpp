// The steps of a pipeline.
#include "halfback/base/error.h"
#include "halfback/engine/exchange_keys.h"
#include "halfback/engine/pipeline_rank.h"
#include "halfback/engine/shards.h"
#include "halfback/schedule/passes.h"

#include <ATen/ops/empty_like.h>
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
  made.memory.peak = executor.device().peak_bytes();
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
  const StepContext context{.schedule = &schedule_,
                            .micro_batches = micro_batches,
                            .loss_scale = loss_scale_.value() / targets,
                            .step = update != nullptr ? update->number : 0,
                            .group_ends = group_ends_,
                            .origin_seconds = now_seconds()};
  run_all(context, update);
  StepResult result;
  result.loss_scale = loss_scale_.value();
  result.seconds = now_seconds() - context.origin_seconds;
  const Rank::Totals& totals = ranks_.begin()->second->totals;
  result.loss = totals.loss / targets;
  result.gradient_norm = std::sqrt(totals.squared_norm);
  if (update != nullptr) {
    result.was_skipped = loss_scale_.skips(result.gradient_norm);
    loss_scale_.finish_step(result.was_skipped);
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
  const Rank::Totals& totals = ranks_.begin()->second->totals;
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
    rank->executor.device().reset_peak();
    rank->idle_bytes = rank->executor.device().live_bytes();
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
      transport_->stop();
      throw TransportError(text);
    } catch (const ScheduleError& error) {
      transport_->stop();
      throw ScheduleError(fmt::format("{}: {}", where(), error.what()));
    } catch (const c10::Error& error) {
      transport_->stop();
      throw Error(fmt::format("{}: {}", where(), error.what_without_backtrace()));
    } catch (const std::exception& error) {
      transport_->stop();
      throw Error(fmt::format("{}: {}", where(), error.what()));
    }
  });
  set_running(nullptr);
  if (was_stopped) {
    throw TransportError("the run was stopped from outside");
  }
}

void Pipeline::share_gradients(Rank& rank) {
  for (const auto& [number, stage] : rank.stages) {
    stage->store().complete_gradients();
  }
  rank.executor.finish_reductions();
  share_tied_gradients(rank);
  for (const auto& [number, stage] : rank.stages) {
    stage->store().scale_gradients(1.0 / loss_scale_.value());
  }
}

void Pipeline::share_tied_gradients(const Rank& rank) {
  const Placement& placement = schedule_.placement;
  const auto gradient_of = [&](const TiedPair::Place& place) -> at::Tensor& {
    return rank.stages.at(place.stage)->store().parameters()[place.parameter]->gradient;
  };
  for (std::size_t i = 0; i < layout_.tied.size(); ++i) {
    const TiedPair& pair = layout_.tied[i];
    for (int replica = 0; replica < placement.num_replicas(); ++replica) {
      const int first = placement.rank_of(pair.original.stage, replica);
      const int second = placement.rank_of(pair.copy.stage, replica);
      if (first != rank.number && second != rank.number) {
        continue;
      }
      if (first == second) {
        gradient_of(pair.original).add_(gradient_of(pair.copy));
        gradient_of(pair.copy).copy_(gradient_of(pair.original));
        continue;
      }
      at::Tensor& own = gradient_of(first == rank.number ? pair.original : pair.copy);
      const at::Tensor given = own.clone();
      const at::Tensor got = at::empty_like(own);
      rank.executor.device().wait();
      transport_
          ->begin_exchange(
              rank.number,
              exchange_keys::of_tied_gradient({.pair = static_cast<int>(i), .replica = replica},
                                              num_stages(), placement.num_replicas()),
              {{.peer = first == rank.number ? second : first, .gives = given, .gets = got}})
          ->wait();
      own.add_(got);
    }
  }
}

void Pipeline::run_rank(Rank& rank, const StepContext& context, const StepOptions* update) {
  rank.executor.device().wait_for_others();
  for (const auto& [number, stage] : rank.stages) {
    if (context.is_training) {
      stage->begin_step(context.step);
    } else {
      stage->begin_inference();
    }
  }
  rank.executor.run(context);
  if (context.is_training) {
    share_gradients(rank);
  }
  sum_up(rank, context);
  if (update != nullptr && !loss_scale_.skips(rank.totals.squared_norm)) {
    update_stages(rank, *update);
    if (options_.shards_optimizer) {
      share_updates(rank);
    }
  }
  if (context.is_training) {
    RankReport report = rank.report(*transport_);
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
  for (const auto& numbers : transport_->all_gather(rank.number, to_numbers(own))) {
    rank.reports.push_back(rank_report_of(static_cast<int>(rank.reports.size()), numbers));
  }
}

// Adds in model order on every rank, so that all have the same bits whatever the placement.
void Pipeline::sum_up(Rank& rank, const StepContext& context) {
  std::vector<double> own;
  for (const auto& [number, stage] : rank.stages) {
    if (context.is_training) {
      const std::vector<double> norms = stage->store().squared_gradient_norms();
      own.insert(own.end(), norms.begin(), norms.end());
    }
  }
  const auto& losses = rank.executor.losses();
  own.insert(own.end(), losses.begin(), losses.end());
  const std::vector<std::vector<double>> all = transport_->all_gather(rank.number, std::move(own));

  const Placement& placement = context.schedule->placement;
  rank.totals = {};
  for (int stage = 0; stage < num_stages() && context.is_training; ++stage) {
    const int owner = placement.rank_of(stage);
    const double* norms =
        &all[static_cast<std::size_t>(owner)][norms_begin_[static_cast<std::size_t>(stage)]];
    for (std::size_t i = 0; i < layout_.num_parameters(stage); ++i) {
      rank.totals.squared_norm += norms[i];
    }
  }
  const std::size_t count = context.micro_batches.size();
  for (std::size_t i = 0; i < losses.size(); ++i) {
    const auto micro_batch = static_cast<int>(i % count);
    const auto owner = static_cast<std::size_t>(
        placement.rank_of(num_stages() - 1, placement.replica_of(micro_batch)));
    const double value = all[owner][(context.is_training ? num_norms_[owner] : 0) + i];
    (i < count ? rank.totals.loss : rank.totals.num_correct) += value;
  }
}

void Pipeline::update_stages(Rank& rank, const StepOptions& options) {
  const double norm = std::sqrt(rank.totals.squared_norm);
  const bool clips = options_.clip_norm > 0.0 && norm > options_.clip_norm;
  for (const auto& [number, stage] : rank.stages) {
    rank.executor.timed({ActionKind::Update, number, 0}, [&] {
      stage->optimizer().step(stage->store(),
                              {.step = loss_scale_.update_number(options.number),
                               .learning_rate = options.learning_rate,
                               .gradient_divisor = clips ? norm / options_.clip_norm : 1.0});
    });
  }
}

void Pipeline::share_updates(const Rank& rank) {
  rank.executor.device().wait();
  std::vector<std::unique_ptr<Exchange>> exchanges;
  for (const auto& [number, stage] : rank.stages) {
    const std::vector<int> copies = schedule_.placement.ranks_of(number);
    const at::Tensor& values = stage->store().values();
    const ElementRange& own = stage->own_elements();
    const std::vector<at::Tensor> given(copies.size(), values.narrow(0, own.begin, own.size()));
    exchanges.push_back(transport_->begin_exchange(
        rank.number, exchange_keys::of_values(number),
        trades_with_copies(rank.number, copies, given, shards_of(values, copies.size()))));
  }
  for (const auto& exchange : exchanges) {
    exchange->wait();
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
