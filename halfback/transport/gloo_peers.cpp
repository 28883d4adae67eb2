#include "halfback/transport/gloo_peers.h"

#include "halfback/base/error.h"
#include "halfback/transport/transport.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>

namespace halfback {

namespace {

using Clock = Waits::Clock;
using Lists = std::vector<std::vector<double>>;

// Between two processes. Each has its own, so that one does not wait behind another.
constexpr int kWatchTag = 0;
constexpr int kClockTag = 1;
constexpr int kGatherTag = 2;

GlooOptions options_of(const Processes& processes, std::chrono::duration<double> timeout) {
  return {.process = processes.index(),
          .num_processes = processes.count(),
          .store_host = processes.world().store_host,
          .store_port = processes.world().store_port,
          .key_prefix = processes.place().key_prefix + "gloo",
          .listens_at = processes.place().listens_at,
          .interface = processes.place().interface,
          .timeout = timeout};
}

at::Tensor empty_of(at::ScalarType dtype, std::int64_t count) {
  return at::empty({count}, at::TensorOptions(dtype));
}

// Lists as two tensors: how long they are, and all their numbers.
struct Flat {
  at::Tensor sizes;
  at::Tensor numbers;
};

Flat flat_of(const Lists& lists) {
  Flat flat{.sizes = empty_of(at::kLong, static_cast<std::int64_t>(lists.size()))};
  auto* size = flat.sizes.mutable_data_ptr<std::int64_t>();
  std::int64_t count = 0;
  for (const std::vector<double>& list : lists) {
    *size++ = static_cast<std::int64_t>(list.size());
    count += static_cast<std::int64_t>(list.size());
  }
  flat.numbers = empty_of(at::kDouble, count);
  auto* number = flat.numbers.mutable_data_ptr<double>();
  for (const std::vector<double>& list : lists) {
    number = std::copy(list.begin(), list.end(), number);
  }
  return flat;
}

std::int64_t num_numbers(const at::Tensor& sizes) {
  const auto* const begin = sizes.const_data_ptr<std::int64_t>();
  return std::accumulate(begin, begin + sizes.numel(), std::int64_t{0});
}

void append(const Flat& flat, Lists& lists) {
  const auto* number = flat.numbers.const_data_ptr<double>();
  const auto* const size = flat.sizes.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < flat.sizes.numel(); ++i) {
    lists.emplace_back(number, number + size[i]);
    number += size[i];
  }
}

}  // namespace

GlooPeers::GlooPeers(Processes& processes, std::chrono::duration<double> timeout)
    : processes_(processes), timeout_(timeout), group_(options_of(processes, timeout)) {
  watcher_ = std::thread([this] { watch_next(); });
}

GlooPeers::~GlooPeers() {
  waits_.stop();
  watcher_.join();
}

Clock::time_point GlooPeers::deadline() const {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(timeout_);
}

void GlooPeers::throw_late(const std::string& awaited) const {
  throw TransportError(fmt::format("waited {:g} s for {}", timeout_.count(), awaited));
}

void GlooPeers::finish(Transfer& transfer,
                       int process,
                       const std::function<std::string()>& awaited) {
  bool is_in_time = false;
  try {
    is_in_time = waits_.wait(transfer, deadline());
  } catch (const TransportError& error) {
    throw TransportError(fmt::format("{} is gone: {}", processes_.name(process), error.what()));
  }
  if (!is_in_time) {
    throw_late(awaited());
  }
}

Lists GlooPeers::all_gather(const Lists& lists) {
  const Flat own = flat_of(lists);
  const auto size = static_cast<std::size_t>(processes_.count());
  std::vector<Flat> flats(size);
  std::vector<std::unique_ptr<Transfer>> sizes(size);
  std::vector<std::pair<std::unique_ptr<Transfer>, std::unique_ptr<Transfer>>> sends(size);
  const auto for_each_other = [&](auto call) {
    for (int process = 0; process < processes_.count(); ++process) {
      if (process != processes_.index()) {
        call(process, static_cast<std::size_t>(process));
      }
    }
  };
  const auto finish_part = [&](Transfer& transfer, int process) {
    finish(transfer, process,
           [&] { return fmt::format("{} at the end of the step", processes_.name(process)); });
  };
  for_each_other([&](int process, std::size_t i) {
    flats[i].sizes = empty_of(at::kLong, own.sizes.numel());
    sizes[i] = group_.receive(flats[i].sizes, process, kGatherTag);
    sends[i].first = group_.send(own.sizes, process, kGatherTag);
    sends[i].second = group_.send(own.numbers, process, kGatherTag);
  });
  for_each_other([&](int process, std::size_t i) {
    finish_part(*sizes[i], process);
    flats[i].numbers = empty_of(at::kDouble, num_numbers(flats[i].sizes));
    finish_part(*group_.receive(flats[i].numbers, process, kGatherTag), process);
  });
  for_each_other([&](int process, std::size_t i) {
    finish_part(*sends[i].first, process);
    finish_part(*sends[i].second, process);
  });
  flats[static_cast<std::size_t>(processes_.index())] = own;
  Lists all;
  for (const Flat& flat : flats) {
    append(flat, all);
  }
  return all;
}

double GlooPeers::take_number(int from) {
  const at::Tensor tensor = empty_of(at::kDouble, 1);
  finish(*group_.receive(tensor, from, kClockTag), from,
         [&] { return fmt::format("the clock of {}", processes_.name(from)); });
  return *tensor.const_data_ptr<double>();
}

void GlooPeers::give_number(double number, int to) {
  const at::Tensor tensor = empty_of(at::kDouble, 1);
  *tensor.mutable_data_ptr<double>() = number;
  finish(*group_.send(tensor, to, kClockTag), to,
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

// Waits for what the next process never sends. Each is so watched by another one, and the end of
// its connection is known at once, whatever anybody waits for.
void GlooPeers::watch_next() {
  const int next = (processes_.index() + 1) % processes_.count();
  const at::Tensor nothing = empty_of(at::kByte, 0);
  try {
    waits_.wait(*group_.receive(nothing, next, kWatchTag), Waits::kNoDeadline);
  } catch (const StoppedError&) {
  } catch (const TransportError& error) {
    processes_.report_gone(next, error.what());
  }
}

}  // namespace halfback
