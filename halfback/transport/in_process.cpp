#include "halfback/transport/in_process.h"

#include "halfback/base/error.h"
#include "halfback/schedule/dataflow.h"

#include <ATen/core/Tensor.h>
#include <c10/core/impl/VirtualGuardImpl.h>
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

// Returns when the copy has ended. On a device it only begins on this thread's stream, and either
// end of an exchange may be the one that copies.
void copy_now(const at::Tensor& from, const at::Tensor& to) {
  to.copy_(from);
  const c10::impl::VirtualGuardImpl backend(to.device().type());
  backend.synchronizeStream(backend.getStream(to.device()));
}

std::int64_t bytes_of(const Message& message) {
  std::int64_t bytes = 0;
  for (const at::Tensor& tensor : message) {
    bytes += tensor.defined() ? static_cast<std::int64_t>(tensor.nbytes()) : 0;
  }
  return bytes;
}

using MatchKey = std::tuple<int, int, int>;  // from, to, key of the exchange

class InProcessNetwork final : public Network {
 public:
  explicit InProcessNetwork(const InProcessOptions& options)
      : options_(options),
        channels_(static_cast<std::size_t>(options.num_ranks * options.num_ranks)),
        matched_(static_cast<std::size_t>(options.num_ranks)) {}

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

  std::unique_ptr<Exchange> begin_exchange(int rank,
                                           const ExchangeName& name,
                                           std::vector<PeerTensors> tensors) override {
    auto begun = std::make_unique<InProcessExchange>(*this, rank, name);
    const std::lock_guard lock(match_mutex_);
    for (PeerTensors& one : tensors) {
      if (one.gives.defined()) {
        begun->add(meet({rank, one.peer, name.key}, one.peer), one.peer)->given =
            std::move(one.gives);
      }
      if (one.gets.defined()) {
        begun->add(meet({one.peer, rank, name.key}, one.peer), one.peer)->got = std::move(one.gets);
      }
    }
    return begun;
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
      // Locked so that no waiter is between checking the flag and falling asleep.
      const std::lock_guard lock(channel.mutex);
      channel.changed.notify_all();
    }
    const std::lock_guard lock(match_mutex_);
    for (std::condition_variable& changed : matched_) {
      changed.notify_all();
    }
  }

 private:
  // One tensor of an exchange. Once both ends have come, whichever waits first copies it, so no end
  // waits for the other to wait.
  struct Match {
    at::Tensor given;
    at::Tensor got;
    bool is_claimed = false;
    bool is_done = false;

    bool is_complete() const { return given.defined() && got.defined(); }
  };

  class InProcessExchange final : public Exchange {
   public:
    InProcessExchange(InProcessNetwork& network, int rank, ExchangeName name)
        : network_(network), rank_(rank), name_(std::move(name)) {}

    Match* add(std::shared_ptr<Match> match, int peer) {
      parts_.push_back({std::move(match), peer});
      return parts_.back().match.get();
    }

    void wait() override {
      for (const Part& part : parts_) {
        conclude(*part.match, part.peer);
      }
    }

   private:
    struct Part {
      std::shared_ptr<Match> match;
      int peer = 0;
    };

    void conclude(Match& one, int peer) {
      std::condition_variable& changed = network_.matched_for(rank_);
      const auto awaited = [&] {
        return fmt::format("rank {} to join {}", peer, to_string(name_));
      };
      std::unique_lock lock(network_.match_mutex_);
      network_.wait(
          lock, changed, [&one] { return one.is_complete(); }, awaited);
      if (std::exchange(one.is_claimed, true)) {
        network_.wait(
            lock, changed, [&one] { return one.is_done; }, awaited);
        return;
      }
      lock.unlock();
      copy_now(one.given, one.got);
      lock.lock();
      one.is_done = true;
      network_.matched_for(peer).notify_all();
    }

    InProcessNetwork& network_;
    int rank_;
    ExchangeName name_;
    std::vector<Part> parts_;
  };

  // Takes what the other end has left and wakes that end, or leaves a new one.
  std::shared_ptr<Match> meet(const MatchKey& key, int peer) {
    const auto [found, is_new] = matches_.try_emplace(key);
    if (is_new) {
      found->second = std::make_shared<Match>();
      return found->second;
    }
    std::shared_ptr<Match> met = std::move(found->second);
    matches_.erase(found);
    matched_for(peer).notify_all();
    return met;
  }

  std::condition_variable& matched_for(int rank) {
    return matched_[static_cast<std::size_t>(rank)];
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
  std::mutex match_mutex_;
  std::vector<std::condition_variable> matched_;        // by the rank that waits for it
  std::map<MatchKey, std::shared_ptr<Match>> matches_;  // that only one end has reached
};

}  // namespace

std::unique_ptr<Network> make_in_process_network(const InProcessOptions& options) {
  HALFBACK_CHECK(options.num_ranks >= 1 && options.capacity >= 1,
                 fmt::format("{} ranks, capacity {}", options.num_ranks, options.capacity));
  return std::make_unique<InProcessNetwork>(options);
}

}  // namespace halfback
