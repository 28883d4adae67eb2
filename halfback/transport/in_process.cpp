#include "halfback/transport/in_process.h"

#include "halfback/base/error.h"

#include <fmt/format.h>

#include <atomic>
#include <condition_variable>
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
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Envelope> waiting;
};

// The send that a receive is the other end of: stage s receives the activation of stage s - 1 and
// the gradient of stage s + 1.
Action sender_of(const Action& receive) {
  if (receive.kind == ActionKind::RecvForward) {
    return {ActionKind::SendForward, receive.stage - 1, receive.micro_batch};
  }
  return {ActionKind::SendBackward, receive.stage + 1, receive.micro_batch};
}

class InProcessTransport final : public Transport {
 public:
  explicit InProcessTransport(const InProcessOptions& options)
      : options_(options),
        channels_(static_cast<std::size_t>(options.num_ranks * options.num_ranks)),
        gathered_(static_cast<std::size_t>(options.num_ranks)) {}

  void send(const Route& route, const Action& action, Message message) override {
    Channel& channel = channel_of(route);
    std::unique_lock lock(channel.mutex);
    wait(
        lock, channel.changed, [&] { return is_not_full(channel); },
        [&] {
          return fmt::format("room in the channel from rank {} to rank {} (it holds {} messages)",
                             route.from, route.to, options_.capacity);
        });
    channel.waiting.push_back({action, std::move(message)});
    lock.unlock();
    channel.changed.notify_all();
  }

  Message receive(const Route& route, const Action& action) override {
    Channel& channel = channel_of(route);
    std::unique_lock lock(channel.mutex);
    wait(
        lock, channel.changed, [&] { return !channel.waiting.empty(); },
        [&] { return fmt::format("{} from rank {}", to_string(sender_of(action)), route.from); });
    Envelope envelope = std::move(channel.waiting.front());
    channel.waiting.pop_front();
    lock.unlock();
    channel.changed.notify_all();
    if (envelope.action != sender_of(action)) {
      throw TransportError(fmt::format(
          "transport: rank {} expects {} from rank {}, but {} comes first; sends and receives of a "
          "pair of ranks must have one order",
          route.to, to_string(sender_of(action)), route.from, to_string(envelope.action)));
    }
    return std::move(envelope.message);
  }

  std::vector<int> local_ranks() const override {
    std::vector<int> ranks(static_cast<std::size_t>(options_.num_ranks));
    std::iota(ranks.begin(), ranks.end(), 0);
    return ranks;
  }

  std::unique_ptr<Exchange> begin_exchange(int rank, int key, std::vector<Trade> trades) override {
    {
      const std::lock_guard lock(trades_mutex_);
      for (const Trade& trade : trades) {
        if (trade.gives.defined()) {
          given_[{rank, trade.peer, key}] = trade.gives;
        }
      }
    }
    trades_changed_.notify_all();
    return std::make_unique<ThreadExchange>(*this, rank, key, std::move(trades));
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

  void stop() override {
    is_stopped_.store(true);
    for (Channel& channel : channels_) {
      // Taken so that no waiter is between its look at the flag and its sleep.
      const std::lock_guard lock(channel.mutex);
      channel.changed.notify_all();
    }
    {
      const std::lock_guard lock(trades_mutex_);
      trades_changed_.notify_all();
    }
    const std::lock_guard lock(gather_mutex_);
    gather_changed_.notify_all();
  }

 private:
  using Given = std::tuple<int, int, int>;  // from, to, key

  class ThreadExchange final : public Exchange {
   public:
    ThreadExchange(InProcessTransport& transport, int rank, int key, std::vector<Trade> trades)
        : transport_(transport), rank_(rank), key_(key), trades_(std::move(trades)) {}

    void wait() override {
      std::unique_lock lock(transport_.trades_mutex_);
      auto& given = transport_.given_;
      for (const Trade& trade : trades_) {
        if (trade.gets.defined()) {
          const Given there{trade.peer, rank_, key_};
          transport_.wait(
              lock, transport_.trades_changed_, [&] { return given.contains(there); },
              [&] { return fmt::format("exchange {} with rank {}", key_, trade.peer); });
          trade.gets.copy_(given.at(there));
          given.erase(there);
          transport_.trades_changed_.notify_all();
        }
      }
      for (const Trade& trade : trades_) {
        transport_.wait(
            lock, transport_.trades_changed_,
            [&] {
              return !given.contains(Given{rank_, trade.peer, key_});
            },
            [&] { return fmt::format("rank {} to end exchange {}", trade.peer, key_); });
      }
    }

   private:
    InProcessTransport& transport_;
    int rank_;
    int key_;
    std::vector<Trade> trades_;
  };

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
  std::mutex trades_mutex_;
  std::condition_variable trades_changed_;
  std::map<Given, at::Tensor> given_;  // what nobody has taken yet
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
