#include "halfback/transport/c10d.h"

#include "halfback/base/error.h"
#include "halfback/schedule/dataflow.h"
#include "halfback/transport/in_process.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <limits>
#include <map>
#include <mutex>
#include <utility>

namespace halfback {

namespace {

at::Tensor empty_tensor(at::IntArrayRef sizes, at::ScalarType dtype) {
  return at::empty(sizes, at::TensorOptions(dtype));
}

class ProcessTransport final : public C10dTransport {
 public:
  explicit ProcessTransport(const C10dOptions& options);
  ~ProcessTransport() override;

  std::vector<int> local_ranks() const override;
  void send(const Route& route, const Action& action, Message message) override;
  Message receive(const Route& route, const Action& action) override;
  std::unique_ptr<Exchange> begin_exchange(int rank, int key, std::vector<Trade> trades) override;
  std::vector<std::vector<double>> all_gather(int rank, std::vector<double> values) override;
  std::vector<LinkUse> links(int rank) const override;
  void stop() override;
  ClockOffset clock_offset() override;

 private:
  class Remote;

  int process_of(int rank) const { return rank / ranks_per_process_; }
  bool is_local(int rank) const { return process_of(rank) == processes_.index(); }
  int tag_of(const Route& route, int number) const;
  GlooLink link_to(int process, const Route& route);
  GlooSender& sender(const Route& route);
  GlooReceiver& receiver(const Route& route);

  const C10dOptions options_;
  Processes& processes_;
  const int ranks_per_process_;
  const std::unique_ptr<Transport> threads_;  // between the ranks of this process
  GlooPeers peers_;
  std::atomic<bool> is_stopped_{false};

  mutable std::mutex mutex_;  // of the maps
  std::map<std::pair<int, int>, GlooSender> senders_;
  std::map<std::pair<int, int>, GlooReceiver> receivers_;

  std::mutex gather_mutex_;
  std::condition_variable gather_changed_;
  std::vector<std::vector<double>> own_lists_;  // of the ranks of this process
  std::vector<std::vector<double>> all_lists_;  // of all ranks, once all are there
  int num_gathered_ = 0;  // ranks of this process that have come, and have not gone
  bool is_gathered_ = false;
};

// An exchange of which a part goes to other processes.
class ProcessTransport::Remote final : public Exchange {
 public:
  Remote(ProcessTransport& transport, int rank, int key)
      : transport_(transport), rank_(rank), key_(key) {}

  void add(const Trade& trade) {
    const int process = transport_.process_of(trade.peer);
    const Route there{.from = rank_, .to = trade.peer};
    const Route back{.from = trade.peer, .to = rank_};
    if (trade.gets.defined()) {
      const int tag = transport_.tag_of(back, key_ + 1);
      transfers_.push_back({transport_.peers_.receive(trade.gets, process, tag), trade.peer});
    }
    if (trade.gives.defined()) {
      const int tag = transport_.tag_of(there, key_ + 1);
      transfers_.push_back({transport_.peers_.send(trade.gives, process, tag), trade.peer});
    }
  }

  void add_local(std::vector<Trade> trades) {
    inside_ = transport_.threads_->begin_exchange(rank_, key_, std::move(trades));
  }

  void wait() override {
    if (inside_) {
      inside_->wait();
    }
    for (const auto& [transfer, peer] : transfers_) {
      const int process = transport_.process_of(peer);
      transport_.peers_.finish(*transfer, process, [&, peer = peer] {
        return fmt::format("exchange {} with rank {} in {}", key_, peer,
                           transport_.processes_.name(process));
      });
    }
  }

 private:
  struct Part {
    std::unique_ptr<Transfer> transfer;
    int peer = 0;
  };

  ProcessTransport& transport_;
  int rank_;
  int key_;
  std::unique_ptr<Exchange> inside_;
  std::vector<Part> transfers_;
};

ProcessTransport::ProcessTransport(const C10dOptions& options)
    : options_(options),
      processes_(options.processes),
      ranks_per_process_(options.num_ranks / options.processes.count()),
      threads_(make_in_process_transport({.num_ranks = options.num_ranks,
                                          .capacity = options.capacity,
                                          .timeout = options.timeout})),
      peers_(options.processes, options.timeout),
      own_lists_(static_cast<std::size_t>(ranks_per_process_)) {}

ProcessTransport::~ProcessTransport() { stop(); }

std::vector<int> ProcessTransport::local_ranks() const {
  std::vector<int> ranks;
  for (int i = 0; i < ranks_per_process_; ++i) {
    ranks.push_back(processes_.index() * ranks_per_process_ + i);
  }
  return ranks;
}

int ProcessTransport::tag_of(const Route& route, int number) const {
  const std::int64_t count = ranks_per_process_;
  const std::int64_t tag = GlooPeers::kLastTag + 1 + number * count * count +
                           route.from % count * count + route.to % count;
  HALFBACK_CHECK(number >= 0 && tag <= std::numeric_limits<int>::max(),
                 fmt::format("number {}, {} ranks in a process", number, count));
  return static_cast<int>(tag);
}

GlooLink ProcessTransport::link_to(int process, const Route& route) {
  return {
      .peers = peers_, .process = process, .tag = tag_of(route, 0), .capacity = options_.capacity};
}

GlooSender& ProcessTransport::sender(const Route& route) {
  const std::lock_guard lock(mutex_);
  if (is_stopped_) {
    throw StoppedError();
  }
  return senders_.try_emplace({route.from, route.to}, link_to(process_of(route.to), route))
      .first->second;
}

GlooReceiver& ProcessTransport::receiver(const Route& route) {
  const std::lock_guard lock(mutex_);
  if (is_stopped_) {
    throw StoppedError();
  }
  return receivers_
      .try_emplace({route.from, route.to}, link_to(process_of(route.from), route),
                   options_.allocate ? options_.allocate : empty_tensor)
      .first->second;
}

void ProcessTransport::send(const Route& route, const Action& action, Message message) {
  if (is_local(route.to)) {
    return threads_->send(route, action, std::move(message));
  }
  if (!sender(route).send(action, std::move(message), peers_.deadline())) {
    peers_.throw_late(fmt::format(
        "room in the channel from rank {} to rank {} in {} (it holds {} messages)", route.from,
        route.to, processes_.name(process_of(route.to)), options_.capacity));
  }
}

Message ProcessTransport::receive(const Route& route, const Action& action) {
  if (is_local(route.from)) {
    return threads_->receive(route, action);
  }
  const Action wanted = counterpart(action);
  auto received = receiver(route).receive(peers_.deadline());
  if (!received) {
    peers_.throw_late(fmt::format("{} from rank {} in {}", to_string(wanted), route.from,
                                  processes_.name(process_of(route.from))));
  }
  if (received->action != wanted) {
    throw TransportError(fmt::format(
        "transport: rank {} expects {} from rank {}, but {} comes first; sends and receives of a "
        "pair of ranks must have one order",
        route.to, to_string(wanted), route.from, to_string(received->action)));
  }
  return std::move(received->message);
}

std::unique_ptr<Exchange> ProcessTransport::begin_exchange(int rank,
                                                           int key,
                                                           std::vector<Trade> trades) {
  const auto remote = std::stable_partition(
      trades.begin(), trades.end(), [&](const Trade& trade) { return is_local(trade.peer); });
  auto exchange = std::make_unique<Remote>(*this, rank, key);
  std::for_each(remote, trades.end(), [&](const Trade& trade) { exchange->add(trade); });
  trades.erase(remote, trades.end());
  if (!trades.empty()) {
    exchange->add_local(std::move(trades));
  }
  return exchange;
}

std::vector<std::vector<double>> ProcessTransport::all_gather(int rank,
                                                              std::vector<double> values) {
  std::unique_lock lock(gather_mutex_);
  const auto wait_until = [&](auto ready) {
    const bool is_over =
        gather_changed_.wait_until(lock, peers_.deadline(), [&] { return is_stopped_ || ready(); });
    if (is_stopped_) {
      throw StoppedError();
    }
    if (!is_over) {
      peers_.throw_late(fmt::format("all ranks at the end of the step ({} of {} in {} are there)",
                                    num_gathered_, ranks_per_process_,
                                    processes_.name(processes_.index())));
    }
  };
  wait_until([&] { return !is_gathered_; });
  own_lists_[static_cast<std::size_t>(rank % ranks_per_process_)] = std::move(values);
  if (++num_gathered_ == ranks_per_process_) {
    lock.unlock();
    all_lists_ = peers_.all_gather(own_lists_);
    lock.lock();
    is_gathered_ = true;
    gather_changed_.notify_all();
  }
  wait_until([&] { return is_gathered_; });
  std::vector<std::vector<double>> all = all_lists_;
  if (--num_gathered_ == 0) {
    is_gathered_ = false;
    gather_changed_.notify_all();
  }
  return all;
}

std::vector<LinkUse> ProcessTransport::links(int rank) const {
  std::vector<LinkUse> all = threads_->links(rank);
  const std::lock_guard lock(mutex_);
  for (auto at = senders_.lower_bound({rank, 0}); at != senders_.end() && at->first.first == rank;
       ++at) {
    all.push_back(at->second.use());
    all.back().route = {.from = rank, .to = at->first.second};
  }
  return all;
}

void ProcessTransport::stop() {
  is_stopped_.store(true);
  threads_->stop();
  peers_.stop();
  {
    const std::lock_guard lock(mutex_);
    for (auto& [ends, sender] : senders_) {
      sender.stop();
    }
  }
  const std::lock_guard lock(gather_mutex_);
  gather_changed_.notify_all();
}

ClockOffset ProcessTransport::clock_offset() { return peers_.clock_offset(); }

}  // namespace

std::unique_ptr<C10dTransport> make_c10d_transport(const C10dOptions& options) {
  const int count = options.processes.count();
  HALFBACK_CHECK(count >= 2 && options.num_ranks >= count && options.num_ranks % count == 0 &&
                     options.capacity >= 1,
                 fmt::format("{} processes, {} ranks, capacity {}", count, options.num_ranks,
                             options.capacity));
  return std::make_unique<ProcessTransport>(options);
}

}  // namespace halfback
