#include "halfback/engine/executor.h"

#include "halfback/base/error.h"
#include "halfback/engine/memory.h"
#include "halfback/schedule/dataflow.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace halfback {

namespace {

Tensors take(std::vector<Tensors>& mail, int micro_batch, const char* what) {
  Tensors tensors = std::exchange(mail[static_cast<std::size_t>(micro_batch)], {});
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

std::int64_t num_targets(std::span<const MicroBatch> micro_batches) {
  std::int64_t count = 0;
  for (const MicroBatch& one : micro_batches) {
    const auto* const targets = one.targets.const_data_ptr<std::int64_t>();
    count += std::count_if(targets, targets + one.targets.numel(),
                           [](std::int64_t target) { return target >= 0; });
  }
  return count;
}

Executor::Executor(int rank, Stages& stages, Transport& transport, at::Device device)
    : rank_(rank), stages_(stages), transport_(transport), device_(rank, device) {}

void Executor::run(const StepContext& context) {
  context_ = &context;
  const std::size_t count = context.micro_batches.size();
  mail_.clear();
  for (const auto& [number, stage] : stages_) {
    mail_[number] = {.activations_in = std::vector<Tensors>(count),
                     .activations_out = std::vector<Tensors>(count),
                     .gradients_in = std::vector<Tensors>(count),
                     .gradients_out = std::vector<Tensors>(count)};
  }
  reductions_.clear();
  losses_.assign(context.is_training ? count : 2 * count, 0.0);
  const auto& list = context.schedule->ranks[static_cast<std::size_t>(rank_)];
  spans_.clear();
  spans_.reserve(list.size() + stages_.size());
  peak_between_actions_ = device_.live_bytes();
  for (std::size_t i = 0; i < list.size();) {
    position_.store(static_cast<int>(i), std::memory_order_relaxed);
    require_possible(list[i]);
    if (list[i].kind == ActionKind::BackwardWeight) {
      i += weight_run(list, i);
    } else if (list[i].kind == ActionKind::ReduceGradient) {
      begin_reduction(list[i]);  // its span is that of the sum, not of its begin
      ++i;
    } else {
      timed(list[i], [&] { run_action(list[i]); });
      ++i;
    }
    peak_between_actions_ = std::max(peak_between_actions_, device_.live_bytes());
  }
  position_.store(static_cast<int>(list.size()), std::memory_order_relaxed);
  if (context.is_training) {
    for (const auto& [number, stage] : stages_) {
      if (const auto micro_batch = stage->finish_step(own_micro_batches(number))) {
        throw ScheduleError(fmt::format(
            "the list ends and stage {} is not through with micro-batch {}; it must run F and "
            "either B or I and W",
            number, *micro_batch));
      }
    }
  }
}

void Executor::require_possible(const Action& action) const {
  const auto count = static_cast<int>(context_->micro_batches.size());
  HALFBACK_CHECK(action.micro_batch >= 0 && action.micro_batch < count, to_string(action));
  if (stages_.count(action.stage) == 0 || !is_local(action.stage, action.micro_batch)) {
    throw ScheduleError(
        fmt::format("stage {} is not on this rank; verify the schedule", action.stage));
  }
  if (is_message(action.kind) && !other_stage(context_->schedule->placement, action)) {
    throw ScheduleError(
        fmt::format("there is no stage {}; verify the schedule", counterpart(action).stage));
  }
}

void Executor::note(const Action& action, double start, double cpu_start) {
  spans_.push_back({.rank = rank_,
                    .action = action,
                    .start_seconds = start - context_->origin_seconds,
                    .end_seconds = now_seconds() - context_->origin_seconds,
                    .cpu_seconds = thread_cpu_seconds() - cpu_start});
}

void Executor::run_action(const Action& action) {
  switch (action.kind) {
    case ActionKind::Forward:
      return forward(action);
    case ActionKind::Backward:
    case ActionKind::BackwardInput:
      return backward(action);
    case ActionKind::SendForward:
    case ActionKind::SendBackward:
      return send(action);
    case ActionKind::RecvForward:
    case ActionKind::RecvBackward:
      return receive(action);
    case ActionKind::BackwardWeight:
    case ActionKind::ReduceGradient:
    case ActionKind::Update:
      break;
  }
  HALFBACK_CHECK(false, "no update in a list that runs");
}

void Executor::forward(const Action& action) {
  const MicroBatch& batch = context_->micro_batches[static_cast<std::size_t>(action.micro_batch)];
  Stage& stage = *stages_.at(action.stage);
  Tensors inputs = action.stage == 0 ? batch.inputs
                                     : take(mail_.at(action.stage).activations_in,
                                            action.micro_batch, "activation");
  if (stage.has_loss()) {
    const auto index = static_cast<std::size_t>(action.micro_batch);
    if (context_->is_training) {
      losses_[index] = stage.forward_loss(action.micro_batch, std::move(inputs), batch.targets);
    } else {
      const Stage::Score score = stage.infer_loss(std::move(inputs), batch.targets);
      losses_[index] = score.loss;
      losses_[losses_.size() / 2 + index] = static_cast<double>(score.num_correct);
    }
    return;
  }
  deliver(action, context_->is_training ? stage.forward(action.micro_batch, std::move(inputs))
                                        : stage.infer(std::move(inputs)));
}

void Executor::backward(const Action& action) {
  Stage& stage = *stages_.at(action.stage);
  Tensors gradients =
      stage.has_loss() ? Tensors()
                       : take(mail_.at(action.stage).gradients_in, action.micro_batch, "gradient");
  const auto half = action.kind == ActionKind::Backward ? &Stage::backward : &Stage::backward_input;
  gradients = (stage.*half)(action.micro_batch, std::move(gradients), context_->loss_scale);
  if (action.kind == ActionKind::Backward) {
    end_weight(action);
  }
  deliver(action, std::move(gradients));
}

GroupEnd Executor::group_end(const Action& action) const {
  return context_->group_ends.empty()
             ? GroupEnd::No
             : context_->group_ends[static_cast<std::size_t>(action.micro_batch)];
}

void Executor::end_weight(const Action& action) {
  if (const GroupEnd end = group_end(action); end != GroupEnd::No) {
    stages_.at(action.stage)->store().end_gradient_group(end == GroupEnd::LastOfStep);
  }
}

void Executor::begin_reduction(const Action& action) {
  ParameterStore& store = stages_.at(action.stage)->store();
  store.complete_gradients();
  device_.wait();
  if (!reduction_) {
    reduction_.emplace(rank_, transport_, device_);
  }
  reduction_->begin({.action = action,
                     .gradients = store.gradients(),
                     .copies = context_->schedule->placement.ranks_of(action.stage)});
  reductions_[action.stage] = spans_.size();
  spans_.push_back({.rank = rank_, .action = action});  // filled in at its end
}

void Executor::finish_reductions() {
  if (context_->schedule->placement.num_replicas() == 1) {
    return;
  }
  for (const auto& [number, stage] : stages_) {
    if (reductions_.count(number) == 0) {
      begin_reduction({ActionKind::ReduceGradient, number, own_micro_batches(number).front()});
    }
  }
  for (Span span : reduction_->finish()) {
    span.start_seconds -= context_->origin_seconds;
    span.end_seconds -= context_->origin_seconds;
    spans_[reductions_.at(span.action.stage)] = span;
  }
}

std::vector<int> Executor::own_micro_batches(int stage) const {
  std::vector<int> own;
  for (int i = 0; i < static_cast<int>(context_->micro_batches.size()); ++i) {
    if (is_local(stage, i)) {
      own.push_back(i);
    }
  }
  return own;
}

bool Executor::is_local(int stage, int micro_batch) const {
  const Placement& placement = context_->schedule->placement;
  return stage >= 0 && stage < placement.num_stages() &&
         placement.rank_of(stage, placement.replica_of(micro_batch)) == rank_;
}

std::size_t Executor::weight_run(const std::vector<Action>& list, std::size_t begin) {
  std::size_t end = begin + 1;
  Stage& stage = *stages_.at(list[begin].stage);
  if (stage.concatenates()) {
    while (end < list.size() && list[end].kind == ActionKind::BackwardWeight &&
           list[end].stage == list[begin].stage && group_end(list[end - 1]) == GroupEnd::No) {
      ++end;
    }
  }
  std::vector<int> micro_batches;
  for (std::size_t i = begin; i < end; ++i) {
    micro_batches.push_back(list[i].micro_batch);
  }
  timed(list[begin], [&] {
    stage.backward_weight(micro_batches);
    end_weight(list[end - 1]);
  });
  // One product made several actions: each gets an equal share of its time.
  Span whole = spans_.back();
  spans_.pop_back();
  const auto parts = static_cast<double>(end - begin);
  const double length = (whole.end_seconds - whole.start_seconds) / parts;
  whole.cpu_seconds /= parts;
  for (std::size_t i = begin; i < end; ++i) {
    whole.action = list[i];
    whole.end_seconds = whole.start_seconds + length;
    spans_.push_back(whole);
    whole.start_seconds = whole.end_seconds;
  }
  return end - begin;
}

void Executor::deliver(const Action& action, Tensors tensors) {
  if (!gives_to_neighbor(*context_->schedule, action)) {
    return;
  }
  const Action receive = counterpart(send_for(action));
  const bool stays = context_->schedule->placement.rank_of(receive) == rank_;
  Mail& mail = mail_.at(stays ? receive.stage : action.stage);
  const bool forward = is_forward(action.kind);
  auto& box = stays ? (forward ? mail.activations_in : mail.gradients_in)
                    : (forward ? mail.activations_out : mail.gradients_out);
  box[static_cast<std::size_t>(action.micro_batch)] = std::move(tensors);
}

void Executor::send(const Action& action) {
  Mail& mail = mail_.at(action.stage);
  Tensors tensors = is_forward(action.kind)
                        ? take(mail.activations_out, action.micro_batch, "activation")
                        : take(mail.gradients_out, action.micro_batch, "gradient");
  const int to = context_->schedule->placement.rank_of(counterpart(action));
  hand_over_all(tensors, kNoRank);
  transport_.send({.from = rank_, .to = to}, action, std::move(tensors));
}

void Executor::receive(const Action& action) {
  const int from = context_->schedule->placement.rank_of(counterpart(action));
  Tensors tensors = device_.take(transport_.receive({.from = from, .to = rank_}, action));
  hand_over_all(tensors, rank_);
  Mail& mail = mail_.at(action.stage);
  (is_forward(action.kind) ? mail.activations_in
                           : mail.gradients_in)[static_cast<std::size_t>(action.micro_batch)] =
      std::move(tensors);
}

}  // namespace halfback
