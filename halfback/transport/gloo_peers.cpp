#include "halfback/transport/gloo_peers.h"

#include "halfback/base/error.h"
#include "halfback/transport/number_tensor.h"
#include "halfback/transport/transport.h"

#include <fmt/format.h>

#include <memory>
#include <span>
#include <utility>

namespace halfback {

namespace {

using Clock = Waits::Clock;

// Tags between two processes. Each use has its own, so that one does not wait behind another.
constexpr int kWatchTag = 0;
constexpr int kClockTag = 1;

void check(const TransferGroup& group, const Processes& processes) {
  if (group.count() != processes.count() || group.index() != processes.index()) {
    throw TransportError(fmt::format(
        "transport: this is process {} of {} in the process group, and process {} of {} in the "
        "run; give a group of all processes of the run, in their order",
        group.index(), group.count(), processes.index(), processes.count()));
  }
}

}  // namespace

GlooPeers::GlooPeers(Processes& processes,
                     std::shared_ptr<TransferGroup> group,
                     std::chrono::duration<double> timeout)
    : processes_(processes), timeout_(timeout), group_(std::move(group)) {
  check(*group_, processes_);
  const int next = (processes_.index() + 1) % processes_.count();
  watched_ = receive(tensor_over(std::span(nothing_)), next, kWatchTag);
  watcher_ = std::thread([this] { watch_next(); });
}

GlooPeers::~GlooPeers() {
  waits_.stop();
  watched_->abort();
  watcher_.join();
}

Clock::time_point GlooPeers::deadline() const {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(timeout_);
}

void GlooPeers::throw_late(const std::string& awaited) const {
  throw TransportError(fmt::format("waited {:g} s for {}", timeout_.count(), awaited));
}

// Runs a call; its TransportError says which process is gone.
template <typename Call>
auto GlooPeers::naming(int process, Call&& call) {
  try {
    return call();
  } catch (const TransportError& error) {
    throw TransportError(fmt::format("{} is gone: {}", processes_.name(process), error.what()));
  }
}

std::unique_ptr<Transfer> GlooPeers::send(const at::Tensor& tensor, int to, int tag) {
  return naming(to, [&] { return group_->send(tensor, to, tag); });
}

std::unique_ptr<Transfer> GlooPeers::receive(const at::Tensor& tensor, int from, int tag) {
  return naming(from, [&] { return group_->receive(tensor, from, tag); });
}

bool GlooPeers::wait(Transfer& transfer, int process, Clock::time_point deadline) {
  return naming(process, [&] { return waits_.wait(transfer, deadline); });
}

void GlooPeers::finish(Transfer& transfer,
                       int process,
                       const std::function<std::string()>& awaited) {
  if (!wait(transfer, process, deadline())) {
    throw_late(awaited());
  }
}

double GlooPeers::take_number(int from) {
  double number = 0.0;
  finish(*receive(tensor_over(std::span(&number, 1)), from, kClockTag), from,
         [&] { return fmt::format("the clock of {}", processes_.name(from)); });
  return number;
}

void GlooPeers::give_number(double number, int to) {
  finish(*send(tensor_over(std::span(&number, 1)), to, kClockTag), to,
         [&] { return fmt::format("{} to take the clock", processes_.name(to)); });
}

ClockOffset GlooPeers::clock_offset() {
  constexpr int kRounds = 20;
  const auto now = [] {
    return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
  };
  ClockOffset best;
  if (processes_.index() == 0) {
    for (int process = 1; process < processes_.count(); ++process) {
      for (int round = 0; round < kRounds; ++round) {
        take_number(process);
        give_number(now(), process);
      }
    }
    return best;
  }
  for (int round = 0; round < kRounds; ++round) {
    const double asked = now();
    give_number(asked, 0);
    const double there = take_number(0);
    const double answered = now();
    const double error = (answered - asked) / 2;
    if (round == 0 || error < best.error_seconds) {
      best = {.seconds = there - (asked + answered) / 2, .error_seconds = error};
    }
  }
  return best;
}

// Waits for a tensor that the next process never sends. So each process is watched by another one,
// which notices the end of its connection at once, whatever else it waits for. stop() does not end
// this wait: a process that stops may not get to report why.
void GlooPeers::watch_next() {
  try {
    watched_->wait();
  } catch (const TransportError& error) {
    processes_.report_gone((processes_.index() + 1) % processes_.count(), error.what());
  }
}

}  // namespace halfback
