#include "halfback/schedule/communication.h"

#include "halfback/base/error.h"
#include "halfback/schedule/dataflow.h"
#include "halfback/schedule/numbering.h"
#include "halfback/schedule/validate.h"

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

namespace halfback {

namespace {

// U and REDUCE_GRAD take no ticks: they are short, or run beside the list.
int ticks(ActionKind kind) {
  if (!is_compute(kind)) {
    return 0;
  }
  return kind == ActionKind::Backward ? 2 : 1;
}

// Runs the lists with a simple clock and adds each message to the lists of both ranks when it
// passes. A rank sends and receives only between actions. A send that finds no room makes its
// receiver take the oldest message of the channel, so it only ever waits for a rank that computes.
// Hence this run finishes under every rule. So do the lists that it writes: this run is one way to
// run them, and whether lists finish does not depend on the speed of ranks.
class Communication {
 public:
  Communication(const Schedule& schedule, int capacity)
      : schedule_(schedule),
        capacity_(static_cast<std::size_t>(capacity)),
        channels_(schedule.placement),
        cells_(schedule),
        held_(index(channels_.count())),
        incoming_(schedule.ranks.size()),
        states_(schedule.ranks.size()),
        lists_(schedule.ranks.size()) {
    for (int channel = 0; channel < channels_.count(); ++channel) {
      incoming_[index(channels_.to(channel))].push_back(channel);
    }
    has_activation_.resize(cells_.num_activations(), false);
    has_gradient_.resize(cells_.num_gradients(), false);
  }

  Schedule run() {
    for (int rank = 0; rank < schedule_.num_ranks(); ++rank) {
      lists_[index(rank)].reserve(2 * schedule_.ranks[index(rank)].size());
      wake(rank);
    }
    start_all();
    for (num_ticks_ = 1; num_busy_ > 0; ++num_ticks_) {
      finish_all();
      start_all();
    }
    return {.name = schedule_.name,
            .num_micro_batches = schedule_.num_micro_batches,
            .placement = schedule_.placement,
            .ranks = std::move(lists_),
            .losses = schedule_.losses};
  }

 private:
  struct RankState {
    std::size_t cursor = 0;
    bool is_busy = false;
    bool is_awake = false;
    std::optional<Action> send;  // result of the last action, not sent yet
  };

  static std::size_t index(int value) { return static_cast<std::size_t>(value); }

  // The ranks whose action ends at a tick; no action takes more than two.
  std::vector<int>& ending_at(std::size_t tick) { return ending_[tick % ending_.size()]; }

  // Frees all ranks before the first message passes, so that ranks that end together can exchange
  // messages.
  void finish_all() {
    std::vector<int>& ranks = ending_at(num_ticks_);
    for (const int rank : ranks) {
      states_[index(rank)].is_busy = false;
      wake(rank);
    }
    for (const int rank : ranks) {
      send(rank);
      for (const int channel : incoming_[index(rank)]) {
        send(channels_.from(channel));
      }
    }
    num_busy_ -= ranks.size();
    ranks.clear();
  }

  void wake(int rank) {
    RankState& state = states_[index(rank)];
    if (!state.is_awake) {
      state.is_awake = true;
      awake_.push_back(rank);
    }
  }

  void start_all() {
    for (std::size_t i = 0; i < awake_.size(); ++i) {
      const int rank = awake_[i];
      states_[index(rank)].is_awake = false;
      start(rank);  // may wake others
    }
    awake_.clear();
  }

  // Starts the next actions of a free rank whose tensors have arrived.
  void start(int rank) {
    RankState& state = states_[index(rank)];
    const std::vector<Action>& list = schedule_.ranks[index(rank)];
    while (!state.is_busy && !state.send && state.cursor < list.size()) {
      const Action& action = list[state.cursor];
      const auto receive = needed_receive(schedule_, action);
      if (receive && !receive_until(*receive)) {
        return;
      }
      lists_[index(rank)].push_back(action);
      ++state.cursor;
      state.send = resulting_send(schedule_, action);
      if (const int duration = ticks(action.kind); duration > 0) {
        state.is_busy = true;
        ++num_busy_;
        ending_at(num_ticks_ + index(duration)).push_back(rank);
      }
    }
  }

  // Takes messages from the channel up to this one. Returns whether it has come.
  bool receive_until(const Action& receive) {
    const int channel = channels_.of(receive);
    while (!has_come(receive) && !held_[index(channel)].empty()) {
      take_oldest(channel);
      send(channels_.from(channel));  // there is room now
    }
    return has_come(receive);
  }

  // Passes the pending send of a free rank, if it has one and the channel admits it.
  void send(int rank) {
    RankState& state = states_[index(rank)];
    if (state.is_busy || !state.send) {
      return;
    }
    const int channel = channels_.of(*state.send);
    const int receiver = channels_.to(channel);
    std::deque<Action>& held = held_[index(channel)];
    if (held.size() >= capacity_ && states_[index(receiver)].is_busy) {
      return;
    }
    lists_[index(rank)].push_back(*state.send);
    held.push_back(*state.send);
    state.send.reset();
    if (held.size() > capacity_) {
      take_oldest(channel);
    }
    wake(rank);
    wake(receiver);
  }

  void take_oldest(int channel) {
    std::deque<Action>& held = held_[index(channel)];
    const Action receive = counterpart(held.front());
    held.pop_front();
    has_come(receive) = true;
    lists_[index(channels_.to(channel))].push_back(receive);
  }

  std::vector<bool>::reference has_come(const Action& receive) {
    auto& flags = is_forward(receive.kind) ? has_activation_ : has_gradient_;
    return flags[cells_.of(receive)];
  }

  const Schedule& schedule_;
  std::size_t capacity_;
  Channels channels_;
  TensorCells cells_;
  std::vector<std::deque<Action>> held_;    // by channel: sent and not yet taken
  std::vector<std::vector<int>> incoming_;  // by rank: its channels
  std::vector<RankState> states_;
  std::vector<std::vector<Action>> lists_;
  std::vector<bool> has_activation_;
  std::vector<bool> has_gradient_;
  std::array<std::vector<int>, 3> ending_;
  std::size_t num_ticks_ = 0;
  std::size_t num_busy_ = 0;
  std::vector<int> awake_;
};

}  // namespace

Schedule add_communication(const Schedule& schedule, ChannelRule rule, const std::string& where) {
  if (has_messages(schedule)) {
    throw ScheduleError(where + ": it already has sends and receives; remove them first");
  }
  validate(schedule, {.where = where});
  return Communication(schedule, rule.capacity).run();
}

Schedule with_messages(const Schedule& schedule, ChannelRule rule) {
  return has_messages(schedule) ? schedule : add_communication(schedule, rule);
}

Schedule remove_communication(const Schedule& schedule) {
  Schedule result = schedule;
  for (std::vector<Action>& list : result.ranks) {
    std::erase_if(list, [](const Action& action) { return is_message(action.kind); });
  }
  return result;
}

}  // namespace halfback
