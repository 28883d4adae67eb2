#include "halfback/transport/c10d.h"

#include "halfback/base/error.h"
#include "halfback/schedule/dataflow.h"
#include "halfback/transport/in_process.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
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

class ProcessNetwork final : public C10dNetwork {
 public:
  explicit ProcessNetwork(const C10dOptions& options);
  ~ProcessNetwork() override;

  std::vector<int> local_ranks() const override;
  void send(const Route& route, const Action& action, Message message) override;
  Message receive(const Route& route, const Action& action) override;
  std::unique_ptr<Exchange> begin_exchange(int rank,
                                           const ExchangeName& name,
                                           std::vector<PeerTensors> tensors) override;
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
  const std::unique_ptr<Network> threads_;  // between the ranks of this process
  GlooPeers peers_;
  std::atomic<bool> is_stopped_{false};

  mutable std::mutex mutex_;  // of the maps
  std::map<std::pair<int, int>, GlooSender> senders_;
  std::map<std::pair<int, int>, GlooReceiver> receivers_;
};

// An exchange that goes in part to other processes.
class ProcessNetwork::Remote final : public Exchange {
 public:
  Remote(ProcessNetwork& network, int rank, ExchangeName name)
      : network_(network), rank_(rank), name_(std::move(name)) {}

  void add(const PeerTensors& one) {
    const int process = network_.process_of(one.peer);
    const Route there{.from = rank_, .to = one.peer};
    const Route back{.from = one.peer, .to = rank_};
    if (one.gets.defined()) {
      const int tag = network_.tag_of(back, name_.key + 1);
      transfers_.push_back({network_.peers_.receive(one.gets, process, tag), one.peer});
    }
    if (one.gives.defined()) {
      const int tag = network_.tag_of(there, name_.key + 1);
      transfers_.push_back({network_.peers_.send(one.gives, process, tag), one.peer});
    }
  }

  void add_local(std::vector<PeerTensors> tensors) {
    inside_ = network_.threads_->begin_exchange(rank_, name_, std::move(tensors));
  }

  void wait() override {
    if (inside_) {
      inside_->wait();
    }
    for (const auto& [transfer, peer] : transfers_) {
      const int process = network_.process_of(peer);
      network_.peers_.finish(*transfer, process, [&, peer = peer] {
        return fmt::format("rank {} in {} to join {}", peer, network_.processes_.name(process),
                           to_string(name_));
      });
    }
  }

 private:
  struct Part {
    std::unique_ptr<Transfer> transfer;
    int peer = 0;
  };

  ProcessNetwork& network_;
  int rank_;
  ExchangeName name_;
  std::unique_ptr<Exchange> inside_;
  std::vector<Part> transfers_;
};

ProcessNetwork::ProcessNetwork(const C10dOptions& options)
    : options_(options),
      processes_(options.processes),
      ranks_per_process_(options.num_ranks / options.processes.count()),
      threads_(make_in_process_network({.num_ranks = options.num_ranks,
                                        .capacity = options.capacity,
                                        .timeout = options.timeout})),
      peers_(options.processes, options.group, options.timeout) {}

ProcessNetwork::~ProcessNetwork() { stop(); }

std::vector<int> ProcessNetwork::local_ranks() const {
  std::vector<int> ranks;
  for (int i = 0; i < ranks_per_process_; ++i) {
    ranks.push_back(processes_.index() * ranks_per_process_ + i);
  }
  return ranks;
}

int ProcessNetwork::tag_of(const Route& route, int number) const {
  const std::int64_t count = ranks_per_process_;
  const std::int64_t tag = GlooPeers::kLastTag + 1 + number * count * count +
                           route.from % count * count + route.to % count;
  HALFBACK_CHECK(number >= 0 && tag <= std::numeric_limits<int>::max(),
                 fmt::format("number {}, {} ranks in a process", number, count));
  return static_cast<int>(tag);
}

GlooLink ProcessNetwork::link_to(int process, const Route& route) {
  return {
      .peers = peers_, .process = process, .tag = tag_of(route, 0), .capacity = options_.capacity};
}

GlooSender& ProcessNetwork::sender(const Route& route) {
  const std::lock_guard lock(mutex_);
  if (is_stopped_) {
    throw StoppedError();
  }
  return senders_.try_emplace({route.from, route.to}, link_to(process_of(route.to), route))
      .first->second;
}

GlooReceiver& ProcessNetwork::receiver(const Route& route) {
  const std::lock_guard lock(mutex_);
  if (is_stopped_) {
    throw StoppedError();
  }
  return receivers_
      .try_emplace({route.from, route.to}, link_to(process_of(route.from), route),
                   options_.allocate ? options_.allocate : empty_tensor)
      .first->second;
}

void ProcessNetwork::send(const Route& route, const Action& action, Message message) {
  if (is_local(route.to)) {
    return threads_->send(route, action, std::move(message));
  }
  if (!sender(route).send(action, std::move(message), peers_.deadline())) {
    peers_.throw_late(fmt::format(
        "room in the channel from rank {} to rank {} in {} (it holds {} messages)", route.from,
        route.to, processes_.name(process_of(route.to)), options_.capacity));
  }
}

Message ProcessNetwork::receive(const Route& route, const Action& action) {
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

std::unique_ptr<Exchange> ProcessNetwork::begin_exchange(int rank,
                                                         const ExchangeName& name,
                                                         std::vector<PeerTensors> tensors) {
  const auto remote = std::stable_partition(
      tensors.begin(), tensors.end(), [&](const PeerTensors& one) { return is_local(one.peer); });
  auto exchange = std::make_unique<Remote>(*this, rank, name);
  std::for_each(remote, tensors.end(), [&](const PeerTensors& one) { exchange->add(one); });
  tensors.erase(remote, tensors.end());
  if (!tensors.empty()) {
    exchange->add_local(std::move(tensors));
  }
  return exchange;
}

std::vector<LinkUse> ProcessNetwork::links(int rank) const {
  std::vector<LinkUse> all = threads_->links(rank);
  const std::lock_guard lock(mutex_);
  for (auto at = senders_.lower_bound({rank, 0}); at != senders_.end() && at->first.first == rank;
       ++at) {
    all.push_back(at->second.use());
    all.back().route = {.from = rank, .to = at->first.second};
  }
  return all;
}

void ProcessNetwork::stop() {
  is_stopped_.store(true);
  threads_->stop();
  peers_.stop();
  const std::lock_guard lock(mutex_);
  for (auto& [ends, sender] : senders_) {
    sender.stop();
  }
}

ClockOffset ProcessNetwork::clock_offset() { return peers_.clock_offset(); }

}  // namespace

std::unique_ptr<C10dNetwork> make_c10d_network(const C10dOptions& options) {
  const int count = options.processes.count();
  HALFBACK_CHECK(count >= 2 && options.num_ranks >= count && options.num_ranks % count == 0 &&
                     options.capacity >= 1 && options.group != nullptr,
                 fmt::format("{} processes, {} ranks, capacity {}, group {}", count,
                             options.num_ranks, options.capacity, options.group != nullptr));
  return std::make_unique<ProcessNetwork>(options);
}

}  // namespace halfback
