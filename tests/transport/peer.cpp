// What the processes of c10d_test.cpp and processes_test.cpp run: peer SCENARIO [RANKS].
// Ends with 0 when all was as it should be.
#include "halfback/base/error.h"
#include "halfback/transport/c10d.h"
#include "halfback/transport/processes.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <future>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace halfback {
namespace {

void require(bool holds, const std::string& what) {
  if (!holds) {
    throw std::logic_error("not so: " + what);
  }
}

double seconds_of(const char* variable, double otherwise) {
  const char* const text = std::getenv(variable);
  return text == nullptr ? otherwise : std::atof(text);
}

ProcessesOptions options_for(int num_ranks) {
  const auto timeout = std::chrono::duration<double>(seconds_of("PEER_TIMEOUT", 30.0));
  return {.num_ranks = num_ranks, .join_timeout = timeout, .timeout = timeout, .position = [] {
            return std::string("rank 7: position 3, 1RECV_F3");
          }};
}

// A run of this process: it meets the others, connects, and leaves with them at the end.
struct Peer {
  explicit Peer(int num_ranks, int capacity = 4)
      : processes(detect_world(), options_for(num_ranks)),
        transport(make_c10d_transport(
            {.processes = processes,
             .num_ranks = num_ranks,
             .capacity = capacity,
             .timeout = std::chrono::duration<double>(seconds_of("PEER_WAIT", 30.0))})) {}

  // Runs a function on a thread of each rank.
  void on_ranks(const std::function<void(int rank)>& run) {
    std::vector<std::thread> threads;
    std::vector<std::exception_ptr> errors(transport->local_ranks().size());
    for (const int rank : transport->local_ranks()) {
      auto& error = errors[threads.size()];
      threads.emplace_back([&, rank] {
        try {
          run(rank);
        } catch (...) {
          error = std::current_exception();
          transport->stop();
        }
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    for (const std::exception_ptr& error : errors) {
      if (error) {
        std::rethrow_exception(error);
      }
    }
  }

  int rank() const { return transport->local_ranks().front(); }

  Processes processes;
  std::unique_ptr<C10dTransport> transport;
};

Action send_of(int number) { return {ActionKind::SendForward, 0, number}; }
Action receive_of(int number) { return {ActionKind::RecvForward, 1, number}; }

// Message `number` of a channel: other shapes and dtypes now and then, several tensors, undefined
// ones, none at all, empty ones, and one that is not contiguous.
Message message_of(const Route& route, int number) {
  const double value = 100.0 * number + 10.0 * route.from + route.to;
  const auto full = [&](at::IntArrayRef sizes, at::ScalarType dtype) {
    return at::full(sizes, value, at::TensorOptions(dtype));
  };
  switch (number / 3 % 7) {
    case 0:
      return {full({4, 5}, at::kFloat)};
    case 1:
      return {full({7}, at::kLong), full({2, 1, 3}, at::kDouble)};
    case 2:
      return {at::Tensor(), full({3, 4}, at::kBFloat16), at::Tensor()};
    case 3:
      return {};
    case 4:
      return {at::arange(12, at::TensorOptions(at::kFloat)).view({3, 4}).add(value).t()};
    case 5:
      return {full({0, 3}, at::kFloat), full({}, at::kInt)};
    default:
      return {full({300, 1000 + number}, at::kFloat)};  // another shape each time, above 1 MiB
  }
}

bool are_equal(const Message& one, const Message& other) {
  bool is_equal = one.size() == other.size();
  for (std::size_t i = 0; is_equal && i < one.size(); ++i) {
    is_equal =
        one[i].defined() == other[i].defined() &&
        (!one[i].defined() || (one[i].scalar_type() == other[i].scalar_type() &&
                               one[i].sizes() == other[i].sizes() && one[i].equal(other[i])));
  }
  return is_equal;
}

// A sender sends as many messages as a channel holds while nobody receives, and then one more.
void capacity(int channel_capacity) {
  Peer peer(2, channel_capacity);
  const Route route{.from = 0, .to = 1};
  const auto send = [&](int number) {
    peer.transport->send(route, send_of(number), message_of(route, number));
  };
  const auto take = [&](int number) {
    require(
        are_equal(peer.transport->receive(route, receive_of(number)), message_of(route, number)),
        fmt::format("message {}", number));
  };
  // Twice, since the first message of a channel is not like the others. A gather is where nobody
  // sends or receives.
  for (int first = 0; first <= channel_capacity; first += channel_capacity) {
    if (peer.rank() == 0) {
      for (int i = 0; i < channel_capacity; ++i) {
        send(first + i);
      }
      peer.transport->all_gather(0, {});
    } else {
      peer.transport->all_gather(1, {});
      for (int i = 0; i < channel_capacity; ++i) {
        take(first + i);
      }
    }
  }
  const int next = 2 * channel_capacity;
  if (peer.rank() == 0) {
    for (int i = 0; i < channel_capacity; ++i) {
      send(next + i);
    }
    std::future<void> one_more =
        std::async(std::launch::async, [&] { send(next + channel_capacity); });
    for (int i = 0; i < 20; ++i) {
      peer.transport->all_gather(0, {});
    }
    require(one_more.wait_for(std::chrono::seconds(0)) == std::future_status::timeout,
            "a full channel holds the sender");
    peer.processes.gather("full", "");
    one_more.get();
  } else {
    for (int i = 0; i < 20; ++i) {
      peer.transport->all_gather(1, {});
    }
    peer.processes.gather("full", "");
    for (int i = 0; i <= channel_capacity; ++i) {
      take(next + i);
    }
  }
  peer.processes.leave();
}

// Every rank sends to every other one, and receives what they send.
void messages(int num_ranks) {
  constexpr int kMessages = 60;
  Peer peer(num_ranks);
  const auto others = [&](int rank, auto call) {
    for (int other = 0; other < num_ranks; ++other) {
      if (other != rank) {
        call(other);
      }
    }
  };
  peer.on_ranks([&](int rank) {
    for (int number = 0; number < kMessages; ++number) {
      others(rank, [&](int other) {
        const Route route{.from = rank, .to = other};
        peer.transport->send(route, send_of(number), message_of(route, number));
      });
      others(rank, [&](int other) {
        const Route route{.from = other, .to = rank};
        const Message got = peer.transport->receive(route, receive_of(number));
        require(are_equal(got, message_of(route, number)),
                fmt::format("message {} from {} to {}", number, other, rank));
      });
    }
  });
  peer.processes.leave();
}

using Scenario = void (*)(int num_ranks);
const std::map<std::string, Scenario> kScenarios = {
    {"messages", messages},
    {"capacity", capacity},
};

}  // namespace
}  // namespace halfback

int main(int argc, char** argv) {
  try {
    halfback::kScenarios.at(argv[1])(argc > 2 ? std::atoi(argv[2]) : 2);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
