#include "tests/simulate/reference_simulator.h"

#include <algorithm>

namespace halfback::testing {

ReferenceSimulator::ReferenceSimulator(const Schedule& schedule,
                                       const CostModel& costs,
                                       ChannelRule rule)
    : schedule_(schedule), costs_(costs), rule_(rule) {
  for (int rank = 0; rank < schedule.num_ranks(); ++rank) {
    const auto& list = schedule.ranks[static_cast<std::size_t>(rank)];
    for (int i = 0; i < static_cast<int>(list.size()); ++i) {
      enter(list[static_cast<std::size_t>(i)], {rank, i});
    }
    ends_.emplace_back(list.size(), 0.0);
    starts_.emplace_back(list.size(), 0.0);
  }
}

void ReferenceSimulator::solve() {
  solve_lists();
  while (reduce_first()) {
    solve_lists();
  }
}

bool ReferenceSimulator::is_reduction(Position p) const {
  return action_at(schedule_, p).kind == ActionKind::ReduceGradient;
}

std::map<std::pair<int, int>, std::vector<Position>> ReferenceSimulator::reductions_left() const {
  std::map<std::pair<int, int>, std::vector<Position>> left;
  for (int rank = 0; rank < schedule_.num_ranks(); ++rank) {
    const auto& list = schedule_.ranks[static_cast<std::size_t>(rank)];
    std::map<int, int> counts;
    for (int i = 0; i < static_cast<int>(list.size()); ++i) {
      const int stage = list[static_cast<std::size_t>(i)].stage;
      if (is_reduction({rank, i})) {
        const int number = counts[stage]++;
        if (reduced_.count({rank, i}) == 0) {
          left[{stage, number}].push_back({rank, i});
        }
      }
    }
  }
  return left;
}

bool ReferenceSimulator::reduce_first() {
  const auto left = reductions_left();
  const auto ready = [&](const std::vector<Position>& replicas) {
    double time = 0.0;
    for (const Position& replica : replicas) {
      time = std::max(time, value(ends_, replica));
    }
    return time;
  };
  if (left.empty()) {
    return false;
  }
  auto first = left.begin();
  for (auto other = left.begin(); other != left.end(); ++other) {
    if (ready(other->second) < ready(first->second)) {
      first = other;
    }
  }
  double begin = ready(first->second);
  for (const Position& replica : first->second) {
    for (const auto& [earlier, times] : reduced_) {
      begin = earlier.first == replica.rank ? std::max(begin, times.second) : begin;
    }
  }
  const StageCost& cost = costs_.stage(first->first.first);
  const int n = static_cast<int>(first->second.size());
  double length = cost.reduce;
  if (cost.reduce_bytes > 0) {
    length +=
        2 * costs_.reduce_latency.value_or(costs_.latency) +
        2.0 * (n - 1) / n * cost.reduce_bytes / costs_.reduce_bandwidth.value_or(costs_.bandwidth);
  }
  for (const Position& replica : first->second) {
    reduced_[{replica.rank, replica.index}] = {begin, begin + length};
  }
  return true;
}

double ReferenceSimulator::sum_end(Position update) const {
  const auto& list = schedule_.ranks[static_cast<std::size_t>(update.rank)];
  const int stage = list[static_cast<std::size_t>(update.index)].stage;
  for (int i = update.index; i-- > 0;) {
    if (is_reduction({update.rank, i}) && list[static_cast<std::size_t>(i)].stage == stage) {
      const auto sum = reduced_.find({update.rank, i});
      return sum == reduced_.end() ? kNever : sum->second.second;
    }
  }
  return 0.0;
}

void ReferenceSimulator::solve_lists() {
  for (bool changed = true; changed;) {
    changed = false;
    for (int rank = 0; rank < schedule_.num_ranks(); ++rank) {
      const auto size = static_cast<int>(schedule_.ranks[static_cast<std::size_t>(rank)].size());
      for (int i = 0; i < size; ++i) {
        const double before = value(ends_, {rank, i});
        set({rank, i});
        changed = changed || value(ends_, {rank, i}) != before;
      }
    }
  }
}

double ReferenceSimulator::value(const std::vector<std::vector<double>>& of, Position p) {
  return of[static_cast<std::size_t>(p.rank)][static_cast<std::size_t>(p.index)];
}

int ReferenceSimulator::rank_of(int stage, int micro_batch) const {
  const Placement& placement = schedule_.placement;
  const int replica = placement.replica_of_micro_batch.empty()
                          ? 0
                          : placement.replica_of_micro_batch[static_cast<std::size_t>(micro_batch)];
  return placement.replicas[static_cast<std::size_t>(replica)][static_cast<std::size_t>(stage)];
}

std::vector<int> ReferenceSimulator::losses_at(int stage) const {
  if (schedule_.losses.is_backprop()) {
    return {schedule_.num_stages() - 1};
  }
  std::vector<int> stages;
  for (const LossReach& loss : schedule_.losses.reaches()) {
    if (loss.stage == stage || (loss.stage > stage && loss.lowest <= stage)) {
      stages.push_back(loss.stage);
    }
  }
  return stages;
}

int ReferenceSimulator::loss_of(const Action& action) const {
  return action.loss > 0 ? action.stage + action.loss - 1 : losses_at(action.stage).front();
}

bool ReferenceSimulator::is_given_down(const Action& action) const {
  if (schedule_.losses.is_backprop()) {
    return action.stage > 0;
  }
  const std::vector<int> below = losses_at(action.stage - 1);
  return std::find(below.begin(), below.end(), loss_of(action)) != below.end();
}

std::string ReferenceSimulator::place(bool up, int stage, int micro_batch, int loss) {
  return (up ? "F" : "G" + std::to_string(loss) + ",") + std::to_string(stage) + "," +
         std::to_string(micro_batch);
}

void ReferenceSimulator::enter(const Action& action, Position at) {
  where_[to_string(action)] = at;
  const bool explicit_send =
      action.kind == ActionKind::SendForward || action.kind == ActionKind::SendBackward;
  const bool maker = action.kind == ActionKind::Forward ||
                     action.kind == ActionKind::BackwardInput ||
                     action.kind == ActionKind::Backward;
  if (!explicit_send && !(maker && !has_messages(schedule_))) {
    return;
  }
  const bool up = action.kind == ActionKind::Forward || action.kind == ActionKind::SendForward;
  const int stage = action.stage + (up ? 1 : -1);
  if (stage < 0 || stage >= schedule_.num_stages() ||
      rank_of(stage, action.micro_batch) == at.rank || (!up && !is_given_down(action))) {
    return;
  }
  const int to = rank_of(stage, action.micro_batch);
  const StageCost& cost = costs_.stage(stage);
  Action receive{up ? ActionKind::RecvForward : ActionKind::RecvBackward, stage,
                 action.micro_batch};
  if (action.loss > 0) {
    receive = receive.with_loss(loss_of(action) - stage);
  }
  const std::string taker = explicit_send
                                ? to_string(receive)
                                : place(up, stage, action.micro_batch, up ? 0 : loss_of(action));
  auto& link = links_[{at.rank, to}];
  const double bytes = up ? cost.activation_bytes : cost.gradient_bytes;
  messages_[taker] = {at, taker, bytes, at.rank, to, static_cast<int>(link.size())};
  link.push_back(taker);
  sends_[to_string(action)] = taker;
}

double ReferenceSimulator::free_before(Position p) const {
  return p.index == 0 ? 0.0 : value(ends_, {p.rank, p.index - 1});
}

double ReferenceSimulator::ready(const Message& message) const {
  if (!has_messages(schedule_)) {
    return value(ends_, message.made);
  }
  double time = free_before(message.made);
  const auto& link = links_.at({message.from, message.to});
  if (rule_.capacity == 0) {
    time = std::max(time, free_before(where_.at(message.taker)));
  } else if (message.order >= rule_.capacity) {
    const std::string& freeing = link[static_cast<std::size_t>(message.order - rule_.capacity)];
    time = std::max(time, value(ends_, where_.at(freeing)));
  }
  return time;
}

double ReferenceSimulator::left_link(const Message& message) const {
  double begin = ready(message);
  double latency = 0.0;
  double bandwidth = 0.0;
  link_cost(message, latency, bandwidth);
  if (message.order > 0) {
    const auto& link = links_.at({message.from, message.to});
    begin =
        std::max(begin, left_link(messages_.at(link[static_cast<std::size_t>(message.order - 1)])));
  }
  return begin + message.bytes / bandwidth;
}

void ReferenceSimulator::link_cost(const Message& message,
                                   double& latency,
                                   double& bandwidth) const {
  latency = costs_.latency;
  bandwidth = costs_.bandwidth;
  for (const LinkCost& link : costs_.links) {
    if (link.from == message.from && link.to == message.to) {
      latency = link.latency.value_or(latency);
      bandwidth = link.bandwidth.value_or(bandwidth);
    }
  }
}

double ReferenceSimulator::arrived(const Message& message) const {
  double latency = 0.0;
  double bandwidth = 0.0;
  link_cost(message, latency, bandwidth);
  return left_link(message) + latency;
}

void ReferenceSimulator::set(Position p) {
  const Action& action = action_at(schedule_, p);
  double& begin = starts_[static_cast<std::size_t>(p.rank)][static_cast<std::size_t>(p.index)];
  double& finish = ends_[static_cast<std::size_t>(p.rank)][static_cast<std::size_t>(p.index)];
  begin = free_before(p);
  const std::string text = to_string(action);
  if (action.kind == ActionKind::RecvForward || action.kind == ActionKind::RecvBackward) {
    finish = std::max(begin, arrived(messages_.at(text)));
  } else if (action.kind == ActionKind::SendForward || action.kind == ActionKind::SendBackward) {
    const Message& message = messages_.at(sends_.at(text));
    finish = costs_.occupies_sender ? left_link(message) : ready(message);
    finish = rule_.capacity == 0 ? arrived(message) : finish;
  } else {
    begin = std::max(begin, taken(action));
    if (action.kind == ActionKind::Update) {
      begin = std::max(begin, sum_end(p));
    }
    const double speed =
        costs_.rank_speed.empty() ? 1.0 : costs_.rank_speed[static_cast<std::size_t>(p.rank)];
    finish = begin + costs_.stage(action.stage).of(action) / speed;
  }
}

double ReferenceSimulator::taken(const Action& action) const {
  const bool up = action.kind == ActionKind::Forward;
  if (!up && action.kind != ActionKind::Backward && action.kind != ActionKind::BackwardInput) {
    return 0.0;
  }
  const auto found =
      messages_.find(place(up, action.stage, action.micro_batch, up ? 0 : loss_of(action)));
  return found != messages_.end() ? arrived(found->second) : 0.0;
}

}  // namespace halfback::testing
