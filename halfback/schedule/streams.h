// Messages that ranks have posted to streams and that have not passed yet. Internal to dry runs and
// their reports.
#pragma once

#include "halfback/schedule/dataflow.h"
#include "halfback/schedule/dry_run.h"
#include "halfback/schedule/numbering.h"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace halfback::detail {

// A stream has a queue at each end. Which messages pass does not depend on the order in which
// different ranks post. The channels must outlive it.
class MessageStreams {
 public:
  MessageStreams(const Channels& channels, Streams streams)
      : channels_(&channels),
        streams_(streams),
        queues_(2 * static_cast<std::size_t>(channels.count())) {}

  // Adds a message to its rank's end of its stream. Calls on_passed(receive) for each that passes.
  template <typename OnPassed>
  void post(const Action& message, OnPassed on_passed) {
    const std::size_t own = queue_of(message);
    Queue& here = queues_[own];
    Queue& there = queues_[own ^ 1U];
    here.posted.push_back(message);
    while (!here.is_empty() && !there.is_empty() && counterpart(here.front()) == there.front()) {
      const Action receive = is_receive(here.front().kind) ? here.front() : there.front();
      here.pop();
      there.pop();
      on_passed(receive);
    }
  }

  // Returns the first message that waits at this end of the stream, or at the other end; or null.
  const Action* front(const Action& message) const { return front_of(queue_of(message)); }
  const Action* other_front(const Action& message) const {
    return front_of(queue_of(message) ^ 1U);
  }

  // Returns a message that waits at the end of some stream on this rank; or null.
  const Action* any_waiting(int rank) const {
    for (std::size_t i = 0; i < queues_.size(); ++i) {
      const Action* message = front_of(i);
      if (message != nullptr && rank_of(*message) == rank) {
        return message;
      }
    }
    return nullptr;
  }

  bool are_empty() const {
    return std::all_of(queues_.begin(), queues_.end(),
                       [](const Queue& queue) { return queue.is_empty(); });
  }

 private:
  struct Queue {
    std::vector<Action> posted;
    std::size_t num_passed = 0;

    bool is_empty() const { return num_passed == posted.size(); }
    const Action& front() const { return posted[num_passed]; }
    void pop() {
      if (++num_passed == posted.size()) {
        posted.clear();
        num_passed = 0;
      }
    }
  };

  const Action* front_of(std::size_t queue) const {
    return queues_[queue].is_empty() ? nullptr : &queues_[queue].front();
  }

  int rank_of(const Action& message) const {
    const int channel = channels_->of(message);
    return is_send(message.kind) ? channels_->from(channel) : channels_->to(channel);
  }

  // The two ends of a stream are neighbors, an even and an odd one.
  std::size_t queue_of(const Action& message) const {
    const int channel = channels_->of(message);
    if (streams_ == Streams::PerPair) {
      const int other = channels_->reverse(channel);
      return 2 * static_cast<std::size_t>(std::min(channel, other)) +
             (is_send(message.kind) == (channel < other) ? 0U : 1U);
    }
    return 2 * static_cast<std::size_t>(channel) + (is_send(message.kind) ? 0U : 1U);
  }

  const Channels* channels_;
  Streams streams_;
  std::vector<Queue> queues_;
};

}  // namespace halfback::detail
