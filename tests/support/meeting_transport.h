// A transport of threads that follows a channel rule to the letter and needs no deadline: it knows
// when all ranks wait and none can go on, so that a deadlock is an error at once, and never one of
// a slow machine.
#pragma once

#include "halfback/base/error.h"
#include "halfback/schedule/dataflow.h"
#include "halfback/schedule/dry_run.h"
#include "halfback/transport/exchange.h"

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <utility>
#include <vector>

namespace halfback::testing {

// For rules without streams. Every rank must call end() once, however its list ended.
class MeetingTransport final : public Network {
 public:
  MeetingTransport(int num_ranks, ChannelRule rule)
      : rule_(rule), ended_(index(num_ranks), false), waits_(index(num_ranks)) {}

  void send(const Route& route, const Action& action, Message message) override {
    std::unique_lock lock(mutex_);
    Channel& channel = channels_[{route.from, route.to}];
    if (rule_.capacity > 0) {
      wait(lock, route.from,
           [&] { return channel.num_sent - channel.num_received < rule_.capacity; });
    }
    channel.waiting.emplace_back(action, std::move(message));
    const int number = channel.num_sent++;
    changed_.notify_all();
    if (rule_.capacity == 0) {
      wait(lock, route.from, [&channel, number] { return channel.num_received > number; });
    }
  }

  Message receive(const Route& route, const Action& action) override {
    std::unique_lock lock(mutex_);
    Channel& channel = channels_[{route.from, route.to}];
    wait(lock, route.to, [&] { return !channel.waiting.empty(); });
    auto [sent, message] = std::move(channel.waiting.front());
    channel.waiting.pop_front();
    ++channel.num_received;
    changed_.notify_all();
    if (sent != counterpart(action)) {
      throw TransportError(to_string(action) + " meets " + to_string(sent));
    }
    return message;
  }

  std::vector<int> local_ranks() const override {
    std::vector<int> ranks(waits_.size());
    std::iota(ranks.begin(), ranks.end(), 0);
    return ranks;
  }

  // Moves nothing.
  std::unique_ptr<Exchange> begin_exchange(int /*rank*/,
                                           const ExchangeName& /*name*/,
                                           std::vector<PeerTensors> /*tensors*/) override {
    class Nothing final : public Exchange {
      void wait() override {}
    };
    return std::make_unique<Nothing>();
  }

  // A replica of a stage has begun the sum over all of them.
  void begin_sum(int stage) {
    const std::lock_guard lock(mutex_);
    ++num_begun_[stage];
    changed_.notify_all();
  }

  void wait_for_sum(int rank, int stage, int num_replicas) {
    std::unique_lock lock(mutex_);
    wait(lock, rank, [this, stage, num_replicas] { return num_begun_[stage] >= num_replicas; });
  }

  std::vector<LinkUse> links(int /*rank*/) const override { return {}; }

  void stop() override {
    const std::lock_guard lock(mutex_);
    is_stopped_ = true;
    changed_.notify_all();
  }

  void end(int rank) {
    const std::lock_guard lock(mutex_);
    ended_[index(rank)] = true;
    stop_if_stuck();
  }

 private:
  struct Channel {
    std::deque<std::pair<Action, Message>> waiting;
    int num_sent = 0;
    int num_received = 0;
  };

  static std::size_t index(int value) { return static_cast<std::size_t>(value); }

  void wait(std::unique_lock<std::mutex>& lock, int rank, std::function<bool()> ready) {
    waits_[index(rank)] = ready;
    stop_if_stuck();
    changed_.wait(lock, [&] { return is_stuck_ || is_stopped_ || ready(); });
    waits_[index(rank)] = nullptr;
    if (!ready()) {
      if (is_stuck_) {
        throw TransportError("all ranks wait");
      }
      throw StoppedError();
    }
  }

  void stop_if_stuck() {
    for (std::size_t rank = 0; rank < waits_.size(); ++rank) {
      if (!ended_[rank] && (!waits_[rank] || waits_[rank]())) {
        return;
      }
    }
    is_stuck_ = true;
    changed_.notify_all();
  }

  ChannelRule rule_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::pair<int, int>, Channel> channels_;  // by both ends
  std::map<int, int> num_begun_;                     // sums, by stage
  std::vector<bool> ended_;
  std::vector<std::function<bool()>> waits_;  // by rank: what would let it go on; else empty
  bool is_stuck_ = false;
  bool is_stopped_ = false;
};

}  // namespace halfback::testing
