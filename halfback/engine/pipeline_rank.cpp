#include "halfback/engine/pipeline_rank.h"

#include "halfback/base/error.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <cmath>
#include <exception>
#include <utility>

namespace halfback {

namespace {

bool is_stop_asked(const Pipeline::StepOptions* options) {
  return options != nullptr && options->stop != nullptr && options->stop->load();
}

}  // namespace

void Pipeline::Rank::run_step(const StepContext& context, const StepOptions* update) {
  device.wait_for_others();
  runner.begin(context);
  executor.run(*context.schedule, context.origin_seconds);
  runner.end_list();
  if (context.is_training) {
    executor.add_reductions(runner.finish_gradients());
  }
  totals = pipeline.totals_->add_up(
      world.all_gather(StepTotals::of_rank(runner, context.is_training)), context);
  if (context.updates && !context.updates_in_lists &&
      !pipeline.update_.loss_scale().skips(totals.squared_norm)) {
    runner.set_model_norm(std::sqrt(totals.squared_norm));
    for (const auto& [stage_number, stage] : stages) {
      if (context.schedule->losses.has_backward(stage_number)) {
        executor.run_behind({ActionKind::Update, stage_number, 0});
      }
    }
    if (pipeline.options_.shards_optimizer) {
      replicas.share_updates();
    }
  }
  if (context.is_training) {
    RankReport made = report_of_step();
    made.is_stop_asked = is_stop_asked(update);
    made.origin_seconds = context.origin_seconds + pipeline.options_.clock_offset_seconds;
    exchange_reports(std::move(made));
  }
}

std::string Pipeline::Rank::place_in(const Schedule& schedule) const {
  const auto& list = schedule.ranks[static_cast<std::size_t>(number)];
  const auto position = static_cast<std::size_t>(executor.position());
  return position < list.size()
             ? fmt::format("rank {}, position {}, {}", number, position, to_string(list[position]))
             : fmt::format("rank {}, end of the step", number);
}

bool Pipeline::Rank::run(const StepContext& context, const StepOptions* update) {
  const auto stop_with = [&](const char* cause) {
    std::string text = fmt::format("{}: {}", place_in(*context.schedule), cause);
    pipeline.network_->stop();
    return text;
  };
  try {
    run_step(context, update);
    return true;
  } catch (const StoppedError&) {
    return false;
  } catch (const TransportError& error) {
    const std::string others = pipeline.positions();
    throw TransportError(fmt::format("{}; {}", stop_with(error.what()), others));
  } catch (const ScheduleError& error) {
    throw ScheduleError(stop_with(error.what()));
  } catch (const c10::Error& error) {
    throw Error(stop_with(error.what_without_backtrace()));
  } catch (const std::exception& error) {
    throw Error(stop_with(error.what()));
  }
}

// If all ranks are in this process, each keeps its own report.
void Pipeline::Rank::exchange_reports(RankReport own) {
  reports.clear();
  if (pipeline.has_all_ranks()) {
    reports.push_back(std::move(own));
    return;
  }
  for (const auto& numbers : world.all_gather(to_numbers(own))) {
    reports.push_back(rank_report_of(static_cast<int>(reports.size()), numbers));
  }
}

RankReport Pipeline::Rank::report_of_step() {
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
  for (const LinkUse& use : pipeline.network_->links(number)) {
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

}  // namespace halfback
