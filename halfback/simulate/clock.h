// Sets the times of actions, which come in the order of a dry run: each after all that it waits
// for. Internal to the simulator.
#pragma once

#include "halfback/schedule/dataflow.h"
#include "halfback/schedule/numbering.h"
#include "halfback/simulate/links.h"
#include "halfback/simulate/moment.h"
#include "halfback/simulate/reductions.h"
#include "halfback/simulate/simulator.h"
#include "halfback/timeline/statistics.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

namespace halfback::detail {

// The actions of each rank after its list, for its stages that train: reductions, then updates.
// Each kind is absent if it has no cost or if the schedule contains it.
std::vector<std::vector<Action>> actions_after_lists(const Schedule& schedule,
                                                     const CostModel& costs);

// `Duration` gives the time of a compute or update action on a rank of speed 1, and of a reduction.
template <typename Duration, bool Traces>
class Clock {
 public:
  Clock(const Schedule& schedule,
        const CostModel& costs,
        Duration duration,
        const SimulateOptions& options)
      : schedule_(schedule),
        costs_(costs),
        duration_(std::move(duration)),
        capacity_(options.channel.capacity),
        with_messages_(has_messages(schedule)),
        after_lists_(actions_after_lists(schedule, costs)),
        reductions_(schedule),
        channels_(schedule.placement),
        cells_(schedule),
        links_(make_links<Traces>(channels_, costs)) {
    make_ranks();
    activation_arrival_.resize(cells_.num_activations());
    gradient_arrival_.resize(cells_.num_gradients());
    if (options.keeps_timeline) {
      spans_.resize(static_cast<std::size_t>(num_actions_));
    }
    if constexpr (Traces) {
      causes_.resize(static_cast<std::size_t>(num_actions_), kNoAction);
    }
  }

  void run(Position position) {
    Rank& rank = ranks_[index(position.rank)];
    const Action& action = rank.list[position.index];
    switch (traits_of(action.kind).kind_class) {
      case KindClass::Send:
        return send(rank, action);
      case KindClass::Receive:
        return receive(rank, action);
      case KindClass::Reduce:
        return reductions_.add({action, rank.number, rank.next++, rank.free});
      case KindClass::Update:
        return update(rank, action);
      case KindClass::Compute:
        return compute(rank, action);
    }
  }

  // Runs reductions until that of one of these stages, and returns it. All that the lists have not
  // reached by now begin later.
  int run_reduction(const std::set<int>& stages) {
    return reductions_.run_one_of(stages, duration_, note_reduction());
  }

  // Runs the actions after the lists.
  void run_after_lists() {
    for_each_after([this](Rank& rank, const Action& action) {
      if (action.kind == ActionKind::ReduceGradient) {
        reductions_.add({action, rank.number, rank.next++, rank.free});
      }
    });
    reductions_.run_all(duration_, note_reduction());
    Time all_ended;
    for (Rank& rank : ranks_) {
      wait_for(reductions_.free_at(rank.number), rank.free);
      wait_for(rank.free, all_ended);
    }
    for_each_after([&](Rank& rank, const Action& action) {
      if (action.kind == ActionKind::Update) {
        if (costs_.updates == UpdateRule::Synchronized) {
          wait_for(all_ended, rank.free);
        }
        compute(rank, action);
      }
    });
  }

  // Moves the spans and sums into a result.
  void finish(SimulationResult& result) {
    result.timeline = {.num_ranks = schedule_.num_ranks(), .spans = std::move(spans_)};
    for (const Rank& rank : ranks_) {
      result.makespan = std::max(result.makespan, rank.free.time);
      result.stage_step = std::max(result.stage_step, rank.period.length());
      result.busy.push_back(rank.busy);
    }
  }

  // Returns the chain of actions that determined the last end, in order of time.
  std::vector<Position> critical_path() const {
    Time last;
    for (const Rank& rank : ranks_) {
      wait_for(rank.free, last);
    }
    std::vector<Position> path;
    for (ActionNumber number = last.known_cause(); number != kNoAction;
         number = causes_[static_cast<std::size_t>(number)]) {
      path.push_back(position_of(number));
    }
    std::reverse(path.begin(), path.end());
    return path;
  }

 private:
  using Time = Moment<Traces>;

  struct Rank {
    const Action* list = nullptr;
    int number = 0;
    ActionNumber first = 0;
    ActionNumber next = 0;
    Time free;
    double slowdown = 1.0;
    double busy = 0.0;
    RankPeriod period;
  };

  using Link = SimulatedLink<Traces>;

  static std::size_t index(int value) { return static_cast<std::size_t>(value); }

  void make_ranks() {
    for (int number = 0; number < schedule_.num_ranks(); ++number) {
      const auto& list = schedule_.ranks[index(number)];
      Rank rank{.list = list.data(), .number = number, .first = num_actions_, .next = num_actions_};
      rank.slowdown = costs_.rank_speed.empty() ? 1.0 : 1.0 / costs_.rank_speed[index(number)];
      ranks_.push_back(std::move(rank));
      num_actions_ += static_cast<ActionNumber>(list.size() + after_lists_[index(number)].size());
    }
  }

  template <typename Function>
  void for_each_after(Function function) {
    for (Rank& rank : ranks_) {
      for (const Action& action : after_lists_[index(rank.number)]) {
        function(rank, action);
      }
    }
  }

  auto note_reduction() {
    return [this](const auto& replica, Time start, double end) {
      note(ranks_[index(replica.rank)], replica.number, replica.action, start, end);
    };
  }

  void update(Rank& rank, const Action& action) {
    if (schedule_.placement.num_replicas() > 1) {
      wait_for(reductions_.end_of(action), rank.free);
    }
    compute(rank, action);
  }

  // When a stage's input, or the gradient of its output, arrives: a message, or the tensor that an
  // action takes.
  Time& arrival_of(const Action& taken) {
    auto& arrivals = is_forward(taken.kind) ? activation_arrival_ : gradient_arrival_;
    return arrivals[cells_.of(taken)];
  }

  void compute(Rank& rank, const Action& action) {
    Time start = rank.free;
    if (!with_messages_ && takes_from_neighbor(schedule_, action)) {
      wait_for(arrival_of(action), start);
    }
    const double end = start.time + duration_(action) * rank.slowdown;
    rank.busy += end - start.time;
    const ActionNumber number = rank.next;
    record(rank, action, start, end);
    if (!with_messages_) {
      hand_on(rank, action, number);
    }
  }

  // Sends the result of an F, I or B if the schedule has no sends.
  void hand_on(const Rank& rank, const Action& action, ActionNumber number) {
    if (const auto message = resulting_send(schedule_, action)) {
      Link& link = links_[index(channels_.of(*message))];
      const Time left = transfer({rank.free.time, number}, *message, link);
      arrival_of(counterpart(*message)) = left.later_by(link.latency);
    }
  }

  // Returns when a message has left its link; the cause is the action that made the link busy.
  Time transfer(Time begin, const Action& send, Link& link) const {
    wait_for(link.free, begin);
    const StageCost& cost = costs_.stage(counterpart(send).stage);
    const double bytes = is_forward(send.kind) ? cost.activation_bytes : cost.gradient_bytes;
    link.free = begin.later_by(bytes / link.bandwidth);
    return link.free;
  }

  void send(Rank& rank, const Action& action) {
    const int channel = channels_.of(action);
    Link& link = links_[index(channel)];
    Time ready = rank.free;
    if (capacity_ == 0) {
      wait_for(ranks_[index(channels_.to(channel))].free, ready);
    } else if (link.num_sent >= static_cast<std::size_t>(capacity_)) {
      wait_for(link.received[link.num_sent - static_cast<std::size_t>(capacity_)], ready);
    }
    ++link.num_sent;
    const Time left = transfer({ready.time, rank.next}, action, link);
    const Time arrived = left.later_by(link.latency);
    arrival_of(counterpart(action)) = arrived;
    const double end = costs_.occupies_sender ? left.time : ready.time;
    record(rank, action, {rank.free.time, ready.known_cause()},
           capacity_ == 0 ? arrived.time : end);
  }

  void receive(Rank& rank, const Action& action) {
    Time end = rank.free;
    wait_for(arrival_of(action), end);
    record(rank, action, {rank.free.time, end.known_cause()}, end.time);
    if (capacity_ != 0 && capacity_ != ChannelRule::kUnbounded) {
      links_[index(channels_.of(action))].received.push_back(rank.free);
    }
  }

  // Ends the next action of a rank, and keeps the cause of its start.
  void record(Rank& rank, const Action& action, const Time& start, double end) {
    note(rank, rank.next, action, start, end);
    rank.free = {end, rank.next};
    ++rank.next;
  }

  void note(Rank& rank, ActionNumber number, const Action& action, const Time& start, double end) {
    const auto at = static_cast<std::size_t>(number);
    if (!spans_.empty()) {
      const double cpu = is_work(action.kind) ? end - start.time : 0.0;
      spans_[at] = {rank.number, action, start.time, end, cpu};
    }
    if constexpr (Traces) {
      causes_[at] = start.known_cause();
    }
    rank.period.add(action.kind, start.time, end);
  }

  Position position_of(ActionNumber number) const {
    const auto after =
        std::upper_bound(ranks_.begin(), ranks_.end(), number,
                         [](ActionNumber value, const Rank& rank) { return value < rank.first; });
    const Rank& rank = *(after - 1);
    return {rank.number, static_cast<int>(number - rank.first)};
  }

  const Schedule& schedule_;
  const CostModel& costs_;
  Duration duration_;
  int capacity_;
  bool with_messages_;
  std::vector<std::vector<Action>> after_lists_;  // by rank
  Reductions<Traces> reductions_;
  Channels channels_;
  TensorCells cells_;
  std::vector<Link> links_;
  std::vector<Rank> ranks_;
  std::vector<Time> activation_arrival_;
  std::vector<Time> gradient_arrival_;
  ActionNumber num_actions_ = 0;
  std::vector<Span> spans_;
  std::vector<ActionNumber> causes_;
};

}  // namespace halfback::detail
