#include "halfback/schedule/deadlock.h"

#include "halfback/base/error.h"
#include "halfback/schedule/dataflow.h"
#include "halfback/schedule/fault.h"
#include "halfback/schedule/grid.h"
#include "halfback/schedule/numbering.h"
#include "halfback/schedule/streams.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

namespace halfback::detail {

namespace {

constexpr std::size_t kMaxSentences = 16;

// Why a rank cannot continue. It always waits for one other blocked rank, so following the waits
// leads to a cycle.
struct Wait {
  int rank = 0;      // the rank that it waits for
  std::string text;  // "waits for ..."
};

class Deadlock {
 public:
  Deadlock(const Schedule& schedule, const std::vector<int>& stopped_at, ChannelRule rule)
      : schedule_(schedule), stopped_at_(stopped_at), rule_(rule), channels_(schedule.placement) {
    if (rule.streams != Streams::None && has_messages(schedule)) {
      post_all();
    }
  }

  // Returns the ranks of a cycle, each of which waits for the next; the lowest comes first.
  std::vector<int> cycle() const {
    std::vector<bool> visited(stopped_at_.size(), false);
    int rank = first_blocked();
    while (!visited[index(rank)]) {
      visited[index(rank)] = true;
      rank = wait(rank).rank;
    }
    std::vector<int> ranks;
    do {
      ranks.push_back(rank);
      rank = wait(rank).rank;
    } while (rank != ranks.front());
    std::rotate(ranks.begin(), std::min_element(ranks.begin(), ranks.end()), ranks.end());
    return ranks;
  }

  int num_blocked() const {
    int count = 0;
    for (int rank = 0; rank < schedule_.num_ranks(); ++rank) {
      count += is_blocked(rank) ? 1 : 0;
    }
    return count;
  }

  Position position(int rank) const { return {rank, stopped_at_[index(rank)]}; }

  // Returns the action that a rank cannot complete, or "its end".
  std::string name(int rank) const {
    return is_at_end(rank) ? "its end" : to_string(action_at(schedule_, position(rank)));
  }

  std::string sentence(int rank) const {
    return fmt::format("rank {}, position {}: {} {}", rank, position(rank).index, name(rank),
                       wait(rank).text);
  }

 private:
  static std::size_t index(int value) { return static_cast<std::size_t>(value); }

  bool is_at_end(int rank) const {
    return index(stopped_at_[index(rank)]) == schedule_.ranks[index(rank)].size();
  }

  bool is_blocked(int rank) const {
    return !is_at_end(rank) || (streams_ && streams_->any_waiting(rank) != nullptr);
  }

  int first_blocked() const {
    int rank = 0;
    while (!is_blocked(rank)) {
      ++rank;
    }
    return rank;
  }

  // Restores the state of the streams at the time when the ranks stopped.
  void post_all() {
    streams_.emplace(channels_, rule_.streams);
    for (std::size_t rank = 0; rank < stopped_at_.size(); ++rank) {
      const auto& list = schedule_.ranks[rank];
      std::for_each(list.begin(), list.begin() + stopped_at_[rank],
                    [this](const Action& action) { post(action); });
    }
  }

  void post(const Action& action) {
    if (is_message(action.kind)) {
      streams_->post(action, [](const Action&) {});
    }
  }

  // Returns the action and its place, such as "1SEND_F0 (rank 1, position 3)"; without the rank if
  // it is `from_rank`.
  std::string place(const Action& action, int from_rank) const {
    return fmt::format("{} ({})", to_string(action), describe_place(schedule_, action, from_rank));
  }

  Wait wait(int rank) const {
    if (is_at_end(rank)) {
      return wait_in_stream(rank, *streams_->any_waiting(rank), "waits");
    }
    const Action& action = action_at(schedule_, position(rank));
    if (is_message(action.kind)) {
      return wait_in_message(rank, action);
    }
    if (action.kind == ActionKind::Update) {
      return wait_for_sum(rank, action);
    }
    if (streams_) {
      const Action receive = needed_receive(schedule_, action).value_or(action);
      return wait_in_stream(rank, receive, fmt::format("waits for {}", place(receive, rank)));
    }
    return wait_for_maker(rank, action);
  }

  // The wait of a U for a replica that has not come to its REDUCE_GRAD.
  Wait wait_for_sum(int rank, const Action& update) const {
    const auto micro_batches =
        micro_batches_by_replica(schedule_.placement, schedule_.num_micro_batches);
    const auto missing = std::ranges::find_if(micro_batches, [&](const std::vector<int>& own) {
      return !is_past({ActionKind::ReduceGradient, update.stage, own.front()});
    });
    const Action sum{ActionKind::ReduceGradient, update.stage, missing->front()};
    return {schedule_.placement.rank_of(sum), fmt::format("waits for {}", place(sum, rank))};
  }

  // The wait in a schedule without messages.
  Wait wait_for_maker(int rank, const Action& action) const {
    Action maker = neighbor_input(schedule_, action);
    const int other = schedule_.placement.rank_of(maker);
    const auto& list = schedule_.ranks[index(other)];
    if (std::find(list.begin(), list.end(), maker) == list.end()) {
      maker = maker.as(ActionKind::Backward);
    }
    return {other, fmt::format("waits for {}", place(maker, rank))};
  }

  Wait wait_in_message(int rank, const Action& action) const {
    const Action other_end = counterpart(action);
    const int other = schedule_.placement.rank_of(other_end);
    if (rule_.capacity == 0 || is_receive(action.kind)) {
      return {other, fmt::format("waits for {}", place(other_end, rank))};
    }
    return {other, fmt::format("waits for room in the channel to rank {}, which holds {}; {} would "
                               "make some",
                               other, rule_.capacity, place(next_receive(other, action), rank))};
  }

  // Returns the next receive at the other end of a full channel.
  Action next_receive(int rank, const Action& send) const {
    const auto& list = schedule_.ranks[index(rank)];
    return *std::find_if(
        list.begin() + stopped_at_[index(rank)], list.end(), [&](const Action& action) {
          return is_receive(action.kind) && channels_.of(action) == channels_.of(send);
        });
  }

  // Returns whether the rank of an action is past it.
  bool is_past(const Action& action) const {
    const int rank = schedule_.placement.rank_of(action);
    const auto& list = schedule_.ranks[index(rank)];
    const auto end = list.begin() + stopped_at_[index(rank)];
    return std::find(list.begin(), end, action) != end;
  }

  // `message` has been posted on the rank and has not passed.
  Wait wait_in_stream(int rank, const Action& message, const std::string& front_text) const {
    const Action& first = *streams_->front(message);
    const Action other_end = counterpart(first);
    const int other = schedule_.placement.rank_of(other_end);
    std::string text = front_text;
    if (first != message) {
      text += fmt::format(", in a stream behind {}", place(first, rank));
    } else if (front_text == "waits") {
      text += fmt::format(" for {}", place(first, rank));
    }
    text += fmt::format(", whose other end is {}", place(other_end, rank));
    const Action* in_front = streams_->other_front(message);
    if (!is_past(other_end)) {
      text += fmt::format(", to which rank {} does not come", other);
    } else if (in_front != nullptr) {
      text += fmt::format(", behind {}", place(*in_front, rank));
    }
    return {other, text};
  }

  const Schedule& schedule_;
  const std::vector<int>& stopped_at_;
  ChannelRule rule_;
  Channels channels_;
  std::optional<MessageStreams> streams_;
};

}  // namespace

void throw_deadlock(const Schedule& schedule,
                    const std::string& where,
                    const std::vector<int>& stopped_at,
                    ChannelRule channel) {
  const Deadlock deadlock(schedule, stopped_at, channel);
  const std::vector<int> cycle = deadlock.cycle();
  const Position first = deadlock.position(cycle.front());
  std::string text = fmt::format("{} waits forever: {} ranks wait for each other ({})",
                                 deadlock.name(first.rank), cycle.size(), to_string(channel));
  for (std::size_t i = 0; i < cycle.size() && i < kMaxSentences; ++i) {
    text += fmt::format("\n  {}", deadlock.sentence(cycle[i]));
  }
  if (cycle.size() > kMaxSentences) {
    text += fmt::format("\n  and {} ranks more of this cycle", cycle.size() - kMaxSentences);
  }
  const int num_behind = deadlock.num_blocked() - static_cast<int>(cycle.size());
  if (num_behind > 0) {
    text += fmt::format("\n  {} {} for one of these, or for one that does", num_behind,
                        num_behind == 1 ? "other rank waits" : "other ranks wait");
  }
  throw_fault(schedule, where, first, text);
}

}  // namespace halfback::detail
