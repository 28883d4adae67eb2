#include "halfback/schedule/dry_run.h"

#include "halfback/base/error.h"
#include "halfback/base/text.h"
#include "halfback/schedule/dataflow.h"
#include "halfback/schedule/numbering.h"
#include "halfback/schedule/streams.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>

namespace halfback {

namespace {

struct NamedRule {
  std::string_view name;
  ChannelRule rule;
};

constexpr std::array kNamedRules = {NamedRule{"buffered", kBuffered},
                                    NamedRule{"rendezvous", kRendezvous}, NamedRule{"nccl", kNccl},
                                    NamedRule{"nccl-pair", kNcclPair}};

struct ChannelState {
  int num_sent = 0;
  int num_received = 0;
};

// Which sums over replicas have begun. In steps back to back, the sums of a stage come one after
// the other, since none begins before the update after the last one.
class ReplicaSums {
 public:
  explicit ReplicaSums(const Placement& placement)
      : placement_(placement),
        by_stage_(static_cast<std::size_t>(placement.num_stages())),
        ended_(by_stage_.size()),
        by_replica_(by_stage_.size() * placement.replicas.size()) {}

  void add(const Action& reduction) {
    ++by_stage_[static_cast<std::size_t>(reduction.stage)];
    ++by_replica_[index(reduction)];
  }

  // Returns whether all replicas have come to the last REDUCE_GRAD before this U.
  bool is_complete(const Action& update) const {
    return by_stage_[static_cast<std::size_t>(update.stage)] >=
           placement_.num_replicas() * by_replica_[index(update)];
  }

  void end(int stage) { ++ended_[static_cast<std::size_t>(stage)]; }
  bool has_ended(const Action& update) const {
    return ended_[static_cast<std::size_t>(update.stage)] >= by_replica_[index(update)];
  }

 private:
  std::size_t index(const Action& action) const {
    return static_cast<std::size_t>(placement_.replica_of(action.micro_batch)) * by_stage_.size() +
           static_cast<std::size_t>(action.stage);
  }

  const Placement& placement_;
  std::vector<int> by_stage_;
  std::vector<int> ended_;       // by stage
  std::vector<int> by_replica_;  // and stage
};

class Runner {
 public:
  Runner(const Schedule& schedule,
         ChannelRule rule,
         const std::function<void(Position)>& on_done,
         const std::function<int(const std::set<int>&)>& next_sum)
      : schedule_(schedule),
        rule_(rule),
        on_done_(on_done),
        next_sum_(next_sum),
        with_messages_(has_messages(schedule)),
        channels_(schedule.placement),
        cells_(schedule),
        states_(static_cast<std::size_t>(channels_.count())),
        sums_(schedule.placement),
        cursors_(schedule.ranks.size(), 0),
        queued_(schedule.ranks.size(), false) {
    if (with_messages_ && rule.streams != Streams::None) {
      streams_.emplace(channels_, rule.streams);
    }
    if (!with_messages_ || streams_) {
      has_activation_.resize(cells_.num_activations(), false);
      has_gradient_.resize(cells_.num_gradients(), false);
    }
  }

  DryRun run() {
    for (int rank = 0; rank < schedule_.num_ranks(); ++rank) {
      wake(rank);
    }
    while (!queue_.empty() || update_next()) {
      const int rank = queue_.back();
      queue_.pop_back();
      queued_[index(rank)] = false;
      advance(rank);
    }
    DryRun result{.stopped_at = cursors_, .finished = !streams_ || streams_->are_empty()};
    for (int rank = 0; rank < schedule_.num_ranks(); ++rank) {
      result.finished = result.finished && current(rank) == nullptr;
    }
    return result;
  }

 private:
  static std::size_t index(int value) { return static_cast<std::size_t>(value); }

  const Action* current(int rank) const {
    const auto& list = schedule_.ranks[index(rank)];
    const auto cursor = index(cursors_[index(rank)]);
    return cursor < list.size() ? &list[cursor] : nullptr;
  }

  void wake(int rank) {
    if (!queued_[index(rank)]) {
      queued_[index(rank)] = true;
      queue_.push_back(rank);
    }
  }

  void advance(int rank) {
    while (const Action* action = current(rank)) {
      if (!pass(rank, *action)) {
        return;
      }
    }
  }

  // Completes the current action of a rank if it does not wait.
  bool pass(int rank, const Action& action) {
    if (is_message(action.kind)) {
      return pass_message(rank, action);
    }
    if (has_micro_batch(action.kind) || schedule_.placement.num_replicas() == 1) {
      return compute(rank, action);
    }
    const bool is_sum = action.kind == ActionKind::ReduceGradient;
    if (is_sum) {
      sums_.add(action);
    }
    const bool passes = is_sum || sums_.has_ended(action);
    if (passes) {
      complete(rank);
    } else {
      at_update_[action.stage].insert(rank);
    }
    update_can_pass(action.stage);
    return passes;
  }

  // Notes a stage if a rank is at its U and need not wait.
  void update_can_pass(int stage) {
    const auto ranks = at_update_.find(stage);
    if (ranks != at_update_.end() && !ranks->second.empty() &&
        sums_.is_complete(*current(*ranks->second.begin()))) {
      summed_.insert(stage);
    }
  }

  // Completes the U of a stage on all ranks that are at it.
  bool update_next() {
    if (summed_.empty()) {
      return false;
    }
    const int stage = next_sum_ ? next_sum_(summed_) : *summed_.begin();
    summed_.erase(stage);
    sums_.end(stage);
    const std::set<int> ranks = std::exchange(at_update_[stage], {});
    for (const int rank : ranks) {
      complete(rank);
      wake(rank);
    }
    return true;
  }

  void complete(int rank) {
    if (on_done_) {
      on_done_({rank, cursors_[index(rank)]});
    }
    ++cursors_[index(rank)];
  }

  bool compute(int rank, const Action& action) {
    if (!with_messages_) {
      if (takes_from_neighbor(schedule_, action) &&
          !has_result(neighbor_input(schedule_, action))) {
        return false;
      }
      publish(action);
    } else if (streams_) {
      const auto receive = needed_receive(schedule_, action);
      if (receive && !has_result(*receive)) {
        return false;
      }
    }
    complete(rank);
    return true;
  }

  // The flag that a compute action has made its tensor, or that a message has passed its stream.
  std::vector<bool>::reference has_result(const Action& action) {
    return (is_forward(action.kind) ? has_activation_ : has_gradient_)[cells_.of(action)];
  }

  void post(int rank, const Action& message) {
    streams_->post(message, [&](const Action& receive) {
      has_result(receive) = true;
      wake(schedule_.placement.rank_of(receive));
    });
    complete(rank);
  }

  void publish(const Action& action) {
    if (gives_to_neighbor(schedule_, action)) {
      has_result(action) = true;
      wake(schedule_.placement.rank_of(counterpart(send_for(action))));
    }
  }

  bool pass_message(int rank, const Action& message) {
    if (streams_) {
      post(rank, message);
      return true;
    }
    const int channel = channels_.of(message);
    return is_send(message.kind) ? send(rank, channel) : receive(rank, channel);
  }

  bool send(int rank, int channel) {
    ChannelState& state = states_[index(channel)];
    const int receiver = channels_.to(channel);
    if (rule_.capacity == 0) {
      return meet(rank, receiver, channel);
    }
    if (state.num_sent - state.num_received >= rule_.capacity) {
      return false;
    }
    ++state.num_sent;
    complete(rank);
    wake(receiver);
    return true;
  }

  // Passes the message if both ends are at it.
  bool meet(int sender, int receiver, int channel) {
    const Action* other = current(receiver);
    if (other == nullptr || !is_receive(other->kind) || channels_.of(*other) != channel) {
      return false;
    }
    complete(sender);
    complete(receiver);
    wake(receiver);
    return true;
  }

  bool receive(int rank, int channel) {
    ChannelState& state = states_[index(channel)];
    const int sender = channels_.from(channel);
    if (rule_.capacity == 0) {
      const Action* other = current(sender);
      if (other != nullptr && is_send(other->kind) && channels_.of(*other) == channel) {
        wake(sender);
      }
      return false;
    }
    if (state.num_received >= state.num_sent) {
      return false;
    }
    ++state.num_received;
    complete(rank);
    wake(sender);
    return true;
  }

  const Schedule& schedule_;
  ChannelRule rule_;
  const std::function<void(Position)>& on_done_;
  const std::function<int(const std::set<int>&)>& next_sum_;
  bool with_messages_;
  Channels channels_;
  TensorCells cells_;
  std::vector<ChannelState> states_;
  std::optional<detail::MessageStreams> streams_;
  ReplicaSums sums_;
  std::map<int, std::set<int>> at_update_;  // by stage: the ranks that have come to its U
  std::set<int> summed_;                    // stages of those that need not wait
  std::vector<int> cursors_;
  std::vector<bool> queued_;
  std::vector<int> queue_;
  std::vector<bool> has_activation_;
  std::vector<bool> has_gradient_;
};

}  // namespace

std::string to_string(ChannelRule rule) {
  const auto named = std::find_if(kNamedRules.begin(), kNamedRules.end(),
                                  [&](const NamedRule& entry) { return entry.rule == rule; });
  return named == kNamedRules.end() ? fmt::format("capacity {}", rule.capacity)
                                    : std::string(named->name);
}

ChannelRule parse_channel_rule(std::string_view text) {
  std::vector<std::string> names;
  for (const NamedRule& entry : kNamedRules) {
    if (entry.name == text) {
      return entry.rule;
    }
    names.emplace_back(entry.name);
  }
  const std::optional<std::int64_t> capacity = parse_integer(text);
  if (!capacity || *capacity < 0 || *capacity >= ChannelRule::kUnbounded) {
    throw ConfigError(fmt::format(
        "channel: '{}' is not a rule; expected {} or a number of messages{}", text.substr(0, 40),
        fmt::join(names, ", "), suggestion(text.substr(0, 40), names)));
  }
  return {static_cast<int>(*capacity)};
}

DryRun dry_run(const Schedule& schedule,
               ChannelRule rule,
               const std::function<void(Position)>& on_done,
               const std::function<int(const std::set<int>& stages)>& next_sum) {
  return Runner(schedule, rule, on_done, next_sum).run();
}

}  // namespace halfback
