#include "halfback/transport/in_process.h"

#include "halfback/base/error.h"
#include "halfback/schedule/dataflow.h"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <numeric>
#include <tuple>
#include <utility>

namespace halfback {

namespace {

using Clock = std::chrono::steady_clock;

struct Envelope {
  Action action;
  Message message;
};

struct Channel {
  mutable std::mutex mutex;
  std::condition_variable changed;
  std::deque<Envelope> waiting;
  std::int64_t num_sent = 0;
  std::int64_t sent_bytes = 0;
};

std::int64_t bytes_of(const Message& message) {
  std::int64_t bytes = 0;
  for (const at::Tensor& tensor : message) {
    bytes += tensor.defined() ? static_cast<std::int64_t>(tensor.nbytes()) : 0;
  }
  return bytes;
}

using BargainKey = std::tuple<int, int, int>;  // from, to, key of the exchange

class InProcessTransport final : public Transport {
 public:
  explicit InProcessTransport(const InProcessOptions& options)
      : options_(options),
        channels_(static_cast<std::size_t>(options.num_ranks * options.num_ranks)),
        gathered_(static_cast<std::size_t>(options.num_ranks)) {}

  std::vector<int> local_ranks() const override {
    std::vector<int> ranks(static_cast<std::size_t>(options_.num_ranks));
    std::iota(ranks.begin(), ranks.end(), 0);
    return ranks;
  }

  void send(const Route& route, const Action& action, Message message) override {
    Channel& channel = channel_of(route);
    std::unique_lock lock(channel.mutex);
    wait(
        lock, channel.changed, [&] { return is_not_full(channel); },
        [&] {
          return fmt::format("room in the channel from rank {} to rank {} (it holds {} messages)",
                             route.from, route.to, options_.capacity);
        });
    ++channel.num_sent;
    channel.sent_bytes += bytes_of(message);
    channel.waiting.push_back({action, std::move(message)});
    lock.unlock();
    channel.changed.notify_all();
  }

  Message receive(const Route& route, const Action& action) override {
    Channel& channel = channel_of(route);
    std::unique_lock lock(channel.mutex);
    wait(
        lock, channel.changed, [&] { return !channel.waiting.empty(); },
        [&] { return fmt::format("{} from rank {}", to_string(counterpart(action)), route.from); });
    Envelope envelope = std::move(channel.waiting.front());
    channel.waiting.pop_front();
    lock.unlock();
    channel.changed.notify_all();
    if (envelope.action != counterpart(action)) {
      throw TransportError(fmt::format(
          "transport: rank {} expects {} from rank {}, but {} comes first; sends and receives of a "
          "pair of ranks must have one order",
          route.to, to_string(counterpart(action)), route.from, to_string(envelope.action)));
    }
    return std::move(envelope.message);
  }

  std::unique_ptr<Exchange> begin_exchange(int rank, int key, std::vector<Trade> trades) override {
    std::vector<std::shared_ptr<Bargain>> bargains;
    {
      const std::lock_guard lock(bargain_mutex_);
      for (Trade& trade : trades) {
        if (trade.gives.defined()) {
          bargains.push_back(meet({rank, trade.peer, key}));
          bargains.back()->given = std::move(trade.gives);
        }
        if (trade.gets.defined()) {
          bargains.push_back(meet({trade.peer, rank, key}));
          bargains.back()->got = std::move(trade.gets);
        }
      }
    }
    bargains_changed_.notify_all();
    return std::make_unique<InProcessExchange>(*this, std::move(bargains));
  }

  std::vector<std::vector<double>> all_gather(int rank, std::vector<double> values) override {
    std::unique_lock lock(gather_mutex_);
    wait(
        lock, gather_changed_, [&] { return !is_reading_; }, [] { return "the last exchange"; });
    gathered_[static_cast<std::size_t>(rank)] = std::move(values);
    if (++num_gathered_ == options_.num_ranks) {
      is_reading_ = true;
      gather_changed_.notify_all();
    }
    wait(
        lock, gather_changed_, [&] { return is_reading_; },
        [&] {
          return fmt::format("all ranks at the end of the step ({} of {} are there)", num_gathered_,
                             options_.num_ranks);
        });
    std::vector<std::vector<double>> all = gathered_;
    if (--num_gathered_ == 0) {
      is_reading_ = false;
      gather_changed_.notify_all();
    }
    return all;
  }

  std::vector<LinkUse> links(int rank) const override {
    std::vector<LinkUse> all;
    for (int to = 0; to < options_.num_ranks; ++to) {
      const Route route{.from = rank, .to = to};
      const Channel& channel = channels_[index_of(route)];
      const std::lock_guard lock(channel.mutex);
      if (channel.num_sent > 0) {
        all.push_back({.route = route, .messages = channel.num_sent, .bytes = channel.sent_bytes});
      }
    }
    return all;
  }

  void stop() override {
    is_stopped_.store(true);
    for (Channel& channel : channels_) {
      // Taken so that no waiter is between its look at the flag and its sleep.
      const std::lock_guard lock(channel.mutex);
      channel.changed.notify_all();
    }
    {
      const std::lock_guard lock(bargain_mutex_);
      bargains_changed_.notify_all();
    }
    const std::lock_guard lock(gather_mutex_);
    gather_changed_.notify_all();
  }

 private:
  // One tensor of an exchange. It can be copied once both ends have come, by whichever waits first:
  // no end waits for the other to wait.
  struct Bargain {
    BargainKey key;
    at::Tensor given;
    at::Tensor got;
    bool is_claimed = false;
    bool is_done = false;
  };

  class InProcessExchange final : public Exchange {
   public:
    InProcessExchange(InProcessTransport& transport, std::vector<std::shared_ptr<Bargain>> bargains)
        : transport_(transport), bargains_(std::move(bargains)) {}

    void wait() override {
      for (const auto& bargain : bargains_) {
        transport_.conclude(*bargain);
      }
    }

   private:
    InProcessTransport& transport_;
    std::vector<std::shared_ptr<Bargain>> bargains_;
  };

  // Returns what the other end has left, or leaves a new one.
  std::shared_ptr<Bargain> meet(const BargainKey& key) {
    const auto [found, is_new] = bargains_.try_emplace(key);
    if (is_new) {
      found->second = std::make_shared<Bargain>(Bargain{.key = key});
      return found->second;
    }
    std::shared_ptr<Bargain> met = std::move(found->second);
    bargains_.erase(found);
    return met;
  }

  void conclude(Bargain& one) {
    std::unique_lock lock(bargain_mutex_);
    const auto awaited = [&one] {
      const auto [from, to, key] = one.key;
      return fmt::format("the exchange {} from rank {} to rank {}", key, from, to);
    };
    wait(
        lock, bargains_changed_, [&one] { return one.given.defined() && one.got.defined(); },
        awaited);
    if (std::exchange(one.is_claimed, true)) {
      wait(
          lock, bargains_changed_, [&one] { return one.is_done; }, awaited);
      return;
    }
    lock.unlock();
    one.got.copy_(one.given);
    lock.lock();
    one.is_done = true;
    lock.unlock();
    bargains_changed_.notify_all();
  }

  std::size_t index_of(const Route& route) const {
    return static_cast<std::size_t>(route.from * options_.num_ranks + route.to);
  }

  Channel& channel_of(const Route& route) { return channels_[index_of(route)]; }

  bool is_not_full(const Channel& channel) const {
    return channel.waiting.size() < static_cast<std::size_t>(options_.capacity);
  }

  // Waits until ready(); awaited() says for what.
  template <typename Ready, typename Awaited>
  void wait(std::unique_lock<std::mutex>& lock,
            std::condition_variable& changed,
            Ready ready,
            Awaited awaited) {
    const auto deadline =
        Clock::now() + std::chrono::duration_cast<Clock::duration>(options_.timeout);
    const bool is_over =
        changed.wait_until(lock, deadline, [&] { return is_stopped_.load() || ready(); });
    if (is_stopped_.load()) {
      throw StoppedError();
    }
    if (!is_over) {
      throw TransportError(
          fmt::format("waited {:g} s for {}", options_.timeout.count(), awaited()));
    }
  }

  InProcessOptions options_;
  std::deque<Channel> channels_;
  std::atomic<bool> is_stopped_{false};
  std::mutex bargain_mutex_;
  std::condition_variable bargains_changed_;
  std::map<BargainKey, std::shared_ptr<Bargain>> bargains_;  // of which one end has come
  std::mutex gather_mutex_;
  std::condition_variable gather_changed_;
  std::vector<std::vector<double>> gathered_;
  int num_gathered_ = 0;
  bool is_reading_ = false;
};

}  // namespace

std::unique_ptr<Transport> make_in_process_transport(const InProcessOptions& options) {
  HALFBACK_CHECK(options.num_ranks >= 1 && options.capacity >= 1,
                 fmt::format("{} ranks, capacity {}", options.num_ranks, options.capacity));
  return std::make_unique<InProcessTransport>(options);
}

}  // namespace halfback
