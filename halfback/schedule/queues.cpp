#include "halfback/schedule/queues.h"

#include "halfback/base/error.h"
#include "halfback/base/text.h"
#include "halfback/schedule/communication.h"
#include "halfback/schedule/dataflow.h"
#include "halfback/schedule/numbering.h"
#include "halfback/schedule/runnable.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

namespace halfback {

namespace {

// The lowest stages of all blocks but the first.
std::vector<int> upper_blocks(const Schedule& schedule) {
  std::vector<int> stages;
  for (int stage = 1; stage < schedule.num_stages(); ++stage) {
    if (schedule.losses.starts_block(stage)) {
      stages.push_back(stage);
    }
  }
  return stages;
}

void check_lengths(const Schedule& schedule,
                   const std::vector<int>& lengths,
                   std::size_t num_boundaries) {
  if (num_boundaries == 0) {
    throw ConfigError(
        fmt::format("{}: gradients cross all boundaries of stages, so there is one block and no "
                    "place for a queue; choose a schedule with losses inside the model, as "
                    "local-greedy, or leave the queue out",
                    schedule.name));
  }
  const std::size_t num_blocks = num_boundaries + 1;
  if (lengths.size() != 1 && lengths.size() != num_boundaries) {
    throw ConfigError(
        fmt::format("{}: {} queues for {} blocks; give {}, one for each boundary between blocks, "
                    "or one for all",
                    schedule.name, lengths.size(), num_blocks, num_boundaries));
  }
  const int count = schedule.num_micro_batches / schedule.placement.num_replicas();
  const int most = count - 1;
  for (const int length : lengths) {
    if (length < 0 || length > most) {
      throw ConfigError(fmt::format(
          "{}: a queue of {}; a step has {} micro-batches for each replica, so expected "
          "0 to {}",
          schedule.name, length, count, most));
    }
  }
}

// The receives with a queue are those of the activations of these stages.
class Queues {
 public:
  // Lengths by the stage above the boundary, none of 0.
  Queues(const Schedule& schedule, std::map<int, int> lengths)
      : schedule_(schedule), lengths_(std::move(lengths)), channels_(schedule.placement) {
    check_channels();
  }

  // Moves each receive to the place of the one that many before it in its channel.
  std::vector<Action> with_early_receives(const std::vector<Action>& list) const {
    std::map<int, std::vector<Action>> receives;  // by channel
    for (const Action& action : list) {
      if (has_queue(action)) {
        receives[channels_.of(action)].push_back(action);
      }
    }
    std::map<int, std::size_t> num_moved;  // by channel
    std::vector<Action> result;
    result.reserve(list.size());
    for (const Action& action : list) {
      if (!has_queue(action)) {
        result.push_back(action);
        continue;
      }
      const std::vector<Action>& all = receives[channels_.of(action)];
      std::size_t& next = num_moved[channels_.of(action)];
      const std::size_t begin = std::exchange(
          next, std::min(all.size(), next == 0 ? 1U + index(lengths_.at(action.stage)) : next + 1));
      for (std::size_t i = begin; i < next; ++i) {
        result.push_back(all[i]);
      }
    }
    return result;
  }

 private:
  static std::size_t index(int value) { return static_cast<std::size_t>(value); }

  bool has_queue(const Action& action) const {
    return action.kind == ActionKind::RecvForward && lengths_.count(action.stage) > 0;
  }

  // A channel keeps its order, so all that it carries would have to wait in the queue.
  void check_channels() const {
    std::map<int, Action> firsts;  // by channel: its first receive
    for (const auto& list : schedule_.ranks) {
      for (const Action& action : list) {
        if (!is_receive(action.kind)) {
          continue;
        }
        const int channel = channels_.of(action);
        const Action& first = firsts.try_emplace(channel, action).first->second;
        const bool is_same = first.kind == action.kind && first.stage == action.stage;
        if (!is_same && (has_queue(first) || has_queue(action))) {
          const int from = channels_.from(channel);
          const int to = channels_.to(channel);
          throw ConfigError(fmt::format(
              "{}: rank {} sends rank {} the tensors of {} and {}, in one order, so none of them "
              "can wait in a queue of its own; expected one stage on each rank",
              schedule_.name, from, to, to_string(first), to_string(action)));
        }
      }
    }
  }

  const Schedule& schedule_;
  std::map<int, int> lengths_;
  Channels channels_;
};

void require_two_ranks(const Schedule& schedule, int stage) {
  const int below = stage - 1;
  if (!needed_receive(schedule, {ActionKind::Forward, stage, 0})) {
    throw ConfigError(fmt::format(
        "{}: stages {} and {} are on one rank, so nothing waits in a queue between them; expected "
        "each block on ranks of its own",
        schedule.name, below, stage));
  }
}

}  // namespace

std::vector<int> parse_queues(const std::string& text) {
  std::vector<int> lengths;
  for (const std::string_view part : split(text, ',')) {
    const std::optional<std::int64_t> length = parse_integer(part);
    if (!length || *length < 0 || *length > kMaxIndex) {
      throw ConfigError(
          fmt::format("--queue: '{}' is not a list of lengths; expected micro-batches, one number "
                      "for all boundaries between blocks or one for each from the bottom, as in 2 "
                      "or 1,0,8",
                      text.substr(0, 40)));
    }
    lengths.push_back(static_cast<int>(*length));
  }
  return lengths;
}

int num_queues(const Schedule& schedule) { return static_cast<int>(upper_blocks(schedule).size()); }

Schedule with_queues(const Schedule& schedule, const std::vector<int>& lengths) {
  const std::vector<int> blocks = upper_blocks(schedule);
  check_lengths(schedule, lengths, blocks.size());
  std::map<int, int> by_stage;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (const int length = lengths.size() == 1 ? lengths.front() : lengths[i]; length > 0) {
      require_two_ranks(schedule, blocks[i]);
      by_stage[blocks[i]] = length;
    }
  }
  Schedule result = with_messages(schedule, {kDefaultChannelCapacity});
  const Queues queues(result, std::move(by_stage));
  for (std::vector<Action>& list : result.ranks) {
    list = queues.with_early_receives(list);
  }
  return result;
}

}  // namespace halfback
