#include "halfback/engine/pipeline_rank.h"

#include "halfback/base/error.h"
#include "halfback/engine/byte_probe.h"
#include "halfback/engine/clock.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <cmath>
#include <exception>
#include <utility>

namespace halfback {

namespace {

// Returns "position 3, 1F0" or "end of the step", with the step if ranks may be in several.
std::string place(const StepContext& context, int rank, int position) {
  const auto& list = context.schedule->ranks[static_cast<std::size_t>(rank)];
  const std::string step =
      context.has_no_barrier() ? fmt::format("step {}", context.update.number) : "the step";
  if (static_cast<std::size_t>(position) >= list.size()) {
    return "end of " + step;
  }
  return fmt::format("position {}, {}{}", position,
                     to_string(list[static_cast<std::size_t>(position)]),
                     context.has_no_barrier() ? " of " + step : "");
}

}  // namespace

void Pipeline::Rank::run_list(Step& step) {
  const StepContext& context = step.context;
  if (step.runs_ahead) {
    begin_memory();
  }
  device.wait_for_others();
  if (context.refreshes_copies) {
    output_copies.refresh();
  }
  if (step.probes) {
    return probe(step);
  }
  runner.begin(context);
  executor.run(runner, *context.schedule, context.origin_seconds);
  runner.end_list();
  if (context.is_training) {
    executor.add_reductions(runner.finish_gradients());
  }
  if (context.updates && !context.updates_in_lists) {
    update_stages(context);
  }
  replicas.finish_shares();
}

// Leaves no trace but gradients.
void Pipeline::Rank::probe(Step& step) {
  Tensors statistics;
  for (const auto& [stage_number, stage] : stages) {
    statistics.push_back(stage->store().statistics().clone());
  }
  runner.begin(step.context);
  ByteProbe probing(runner);
  executor.run(probing, *step.context.schedule, step.context.origin_seconds);
  runner.end_list();
  step.reports.at(number).stages = probing.found();
  auto before = statistics.begin();
  for (const auto& [stage_number, stage] : stages) {
    stage->store().statistics().copy_(*before++);
  }
}

// After the list. Waits for the other ranks only if the update needs the norm of the whole model.
void Pipeline::Rank::update_stages(const StepContext& context) {
  if (pipeline.update_.needs_model_norm()) {
    const double squared_norm =
        pipeline.totals_->squared_norm(world.all_gather(StepTotals::norms_of_rank(runner)));
    if (pipeline.update_.loss_scale().skips(squared_norm)) {
      return;
    }
    runner.set_model_norm(std::sqrt(squared_norm));
  }
  for (const auto& [stage_number, stage] : stages) {
    if (context.schedule->losses.has_backward(stage_number)) {
      executor.run_behind({ActionKind::Update, stage_number, 0});
    }
  }
}

std::string Pipeline::Rank::where() const {
  if (running == nullptr) {
    return fmt::format("rank {} is between two steps", number);
  }
  const std::string found = place(*running, number, executor.position());
  return fmt::format("rank {} is at {}{}", number, found.starts_with("end") ? "the " : "", found);
}

void Pipeline::Rank::run(Step& step) {
  const auto note_running = [&](const StepContext* context) {
    const std::lock_guard lock(pipeline.running_mutex_);
    running = context;
  };
  const auto stop_with = [&](const char* cause) {
    std::string text = fmt::format("rank {}, {}: {}", number,
                                   place(step.context, number, executor.position()), cause);
    pipeline.network_->stop();
    return text;
  };
  note_running(&step.context);
  try {
    run_list(step);
    report(step);
    note_running(nullptr);
  } catch (const StoppedError&) {
    throw;
  } catch (const TransportError& error) {
    const std::string others = pipeline.positions();
    std::throw_with_nested(TransportError(fmt::format("{}; {}", stop_with(error.what()), others)));
  } catch (const ScheduleError& error) {
    std::throw_with_nested(ScheduleError(stop_with(error.what())));
  } catch (const c10::Error& error) {
    std::throw_with_nested(Error(stop_with(error.what_without_backtrace())));
  } catch (const std::exception& error) {
    std::throw_with_nested(Error(stop_with(error.what())));
  }
}

void Pipeline::Rank::report(Step& step) {
  const StepContext& context = step.context;
  RankReport& made = step.reports.at(number);
  made.totals = StepTotals::of_rank(runner, context.is_training);
  made.origin_seconds = context.origin_seconds + pipeline.options_.clock_offset_seconds;
  made.end_seconds = now_seconds() - context.origin_seconds;
  made.is_stop_asked = step.stop != nullptr && step.stop->load();
  if (!context.is_training) {
    return;
  }
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
}

}  // namespace halfback
