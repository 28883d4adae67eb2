#include "halfback/engine/executor.h"

#include "halfback/base/error.h"
#include "halfback/engine/clock.h"
#include "halfback/engine/memory.h"
#include "halfback/schedule/dataflow.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace halfback {

namespace {

Tensors take(Tensors& place, const char* what) {
  Tensors tensors = std::exchange(place, {});
  if (tensors.empty()) {
    throw ScheduleError(
        fmt::format("finds no {}; nothing before it on this rank has made or received it", what));
  }
  return tensors;
}

void hand_over_all(const Tensors& tensors, int rank) {
  for (const at::Tensor& tensor : tensors) {
    if (tensor.defined()) {
      hand_over(tensor, rank);
    }
  }
}

}  // namespace

Executor::Executor(int rank, Transport& transport, const RankDevice& device)
    : rank_(rank), transport_(transport), device_(device) {}

void Executor::run(ActionRunner& runner, const Schedule& schedule, double origin_seconds) {
  runner_ = &runner;
  schedule_ = &schedule;
  origin_seconds_ = origin_seconds;
  const auto count = static_cast<std::size_t>(schedule.num_micro_batches);
  mail_.clear();
  for (const int stage : schedule.placement.stages_of(rank_)) {
    const std::size_t num_gradients = num_gradient_places(schedule.losses, stage) * count;
    mail_[stage] = {.activations_in = std::vector<Tensors>(count),
                    .activations_out = std::vector<Tensors>(count),
                    .gradients_in = std::vector<Tensors>(num_gradients),
                    .gradients_out = std::vector<Tensors>(num_gradients)};
  }
  reductions_.clear();
  const auto& list = schedule.ranks[static_cast<std::size_t>(rank_)];
  spans_.clear();
  spans_.reserve(list.size() + 2 * mail_.size());  // plus a sum and an update after the list
  peak_between_actions_ = device_.live_bytes();
  for (std::size_t i = 0; i < list.size();) {
    position_.store(static_cast<int>(i), std::memory_order_relaxed);
    require_possible(list[i]);
    if (list[i].kind == ActionKind::BackwardWeight) {
      i += run_weights(list, i);
    } else if (list[i].kind == ActionKind::ReduceGradient) {
      begin_reduction(list[i]);
      ++i;
    } else {
      if (list[i].kind == ActionKind::Update) {
        finish_sum(list[i]);
      }
      timed(list[i], [&] { run_action(list[i]); });
      ++i;
    }
    peak_between_actions_ = std::max(peak_between_actions_, device_.live_bytes());
  }
  position_.store(static_cast<int>(list.size()), std::memory_order_relaxed);
}

void Executor::run_behind(const Action& action) {
  timed(action, [&] { run_action(action); });
}

void Executor::require_possible(const Action& action) const {
  const Placement& placement = schedule_->placement;
  HALFBACK_CHECK(action.micro_batch >= 0 && action.micro_batch < schedule_->num_micro_batches,
                 to_string(action));
  const bool is_here = action.stage >= 0 && action.stage < placement.num_stages() &&
                       placement.rank_of(action) == rank_;
  if (!is_here) {
    throw ScheduleError(
        fmt::format("stage {} is not on this rank; verify the schedule", action.stage));
  }
  if (!names_right_loss(*schedule_, action)) {
    throw ScheduleError("its loss is not one of those that it can name; verify the schedule");
  }
  if (is_message(action.kind) && !other_stage(placement, action)) {
    throw ScheduleError(
        fmt::format("there is no stage {}; verify the schedule", counterpart(action).stage));
  }
}

template <typename Work>
void Executor::timed(const Action& action, Work work) {
  const double start = now_seconds();
  const double cpu_start = thread_cpu_seconds();
  work();
  device_.wait();
  spans_.push_back({.rank = rank_,
                    .action = action,
                    .start_seconds = start - origin_seconds_,
                    .end_seconds = now_seconds() - origin_seconds_,
                    .cpu_seconds = thread_cpu_seconds() - cpu_start});
}

void Executor::run_action(const Action& action) {
  switch (action.kind) {
    case ActionKind::Forward:
    case ActionKind::Backward:
    case ActionKind::BackwardInput:
      return compute(action);
    case ActionKind::SendForward:
    case ActionKind::SendBackward:
      return send(action);
    case ActionKind::RecvForward:
    case ActionKind::RecvBackward:
      return receive(action);
    case ActionKind::Update:
      return runner_->update(action);
    case ActionKind::BackwardWeight:
    case ActionKind::ReduceGradient:
      break;
  }
  HALFBACK_CHECK(false, to_string(action));
}

Tensors Executor::taken_by(const Action& action) {
  if (!takes_from_neighbor(*schedule_, action)) {
    return {};
  }
  return take(incoming(action), is_forward(action.kind) ? "activation" : "gradient");
}

std::size_t Executor::place_of(const Action& action) const {
  const std::size_t number =
      is_forward(action.kind) ? 0 : gradient_place(schedule_->losses, action);
  return number * static_cast<std::size_t>(schedule_->num_micro_batches) +
         static_cast<std::size_t>(action.micro_batch);
}

Tensors& Executor::incoming(const Action& action) {
  Mail& mail = mail_.at(action.stage);
  return (is_forward(action.kind) ? mail.activations_in : mail.gradients_in)[place_of(action)];
}

Tensors& Executor::outgoing(const Action& action) {
  Mail& mail = mail_.at(action.stage);
  return (is_forward(action.kind) ? mail.activations_out : mail.gradients_out)[place_of(action)];
}

void Executor::compute(const Action& action) {
  deliver(action, runner_->compute(action, taken_by(action)));
}

// Its span covers the whole sum, so it is filled in when the sum ends.
void Executor::begin_reduction(const Action& action) {
  runner_->begin_reduction(action);
  reductions_[action.stage] = spans_.size();
  spans_.push_back({.rank = rank_, .action = action});
}

// The wait belongs to the sum, not to the update.
void Executor::finish_sum(const Action& update) {
  if (const std::optional<Span> sum = runner_->finish_sum(update)) {
    add_reductions(std::span(&*sum, 1));
  }
}

void Executor::add_reductions(std::span<const Span> spans) {
  for (Span span : spans) {
    span.start_seconds -= origin_seconds_;
    span.end_seconds -= origin_seconds_;
    const auto place = reductions_.find(span.action.stage);
    if (place == reductions_.end()) {
      spans_.push_back(span);
    } else {
      spans_[place->second] = span;
    }
  }
}

std::size_t Executor::run_weights(const std::vector<Action>& list, std::size_t begin) {
  const auto first = list.begin() + static_cast<std::ptrdiff_t>(begin);
  const auto last = std::find_if(first, list.end(), [&](const Action& action) {
    return action.kind != first->kind || action.stage != first->stage;
  });
  const std::span<const Action> together(first, last);
  const std::span<const Action> joined = together.first(runner_->num_joined(together));
  timed(*first, [&] { runner_->compute_weights(joined); });
  // One product did several actions: each gets an equal share of its time.
  Span whole = spans_.back();
  spans_.pop_back();
  const auto parts = static_cast<double>(joined.size());
  const double length = (whole.end_seconds - whole.start_seconds) / parts;
  whole.cpu_seconds /= parts;
  for (const Action& action : joined) {
    whole.action = action;
    whole.end_seconds = whole.start_seconds + length;
    spans_.push_back(whole);
    whole.start_seconds = whole.end_seconds;
  }
  return joined.size();
}

void Executor::deliver(const Action& action, Tensors tensors) {
  if (!gives_to_neighbor(*schedule_, action)) {
    return;
  }
  const Action receive = counterpart(send_for(action));
  const bool stays = schedule_->placement.rank_of(receive) == rank_;
  (stays ? incoming(receive) : outgoing(action)) = std::move(tensors);
}

void Executor::send(const Action& action) {
  Tensors tensors = take(outgoing(action), is_forward(action.kind) ? "activation" : "gradient");
  const int to = schedule_->placement.rank_of(counterpart(action));
  // Tensors in transit are counted to no rank.
  hand_over_all(tensors, kNoRank);
  transport_.send({.from = rank_, .to = to}, action, std::move(tensors));
}

void Executor::receive(const Action& action) {
  const int from = schedule_->placement.rank_of(counterpart(action));
  Tensors tensors = device_.take(transport_.receive({.from = from, .to = rank_}, action));
  hand_over_all(tensors, rank_);
  incoming(action) = std::move(tensors);
}

}  // namespace halfback
