// What the processes of this folder's tests run: peer SCENARIO [RANKS]. They make their group, or
// are given one (PEER_GIVEN).
// Ends with 0 when all was as it should be.
#include "halfback/base/error.h"
#include "halfback/group/group.h"
#include "halfback/transport/c10d.h"
#include "halfback/transport/gloo_group.h"
#include "halfback/transport/processes.h"
#include "tests/transport/given_group.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <future>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>
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

using Seconds = std::chrono::duration<double>;

void say(const std::string& line) {
  std::puts(line.c_str());
  std::fflush(stdout);
}

ProcessesOptions options_for(int num_ranks) {
  return {.num_ranks = num_ranks,
          .join_timeout = Seconds(seconds_of("PEER_JOIN", 30.0)),
          .timeout = Seconds(seconds_of("PEER_TIMEOUT", 30.0)),
          .on_wait = say,
          .note_after = Seconds(seconds_of("PEER_NOTE", 30.0))};
}

std::shared_ptr<TransferGroup> group_for(const Processes& processes) {
  using testing::Given;
  static const std::map<std::string, Given> kGiven = {
      {"right", Given::Right},          {"reversed", Given::Reversed},
      {"too small", Given::TooSmall},   {"other backend", Given::OtherBackend},
      {"no backend", Given::NoBackend}, {"twice", Given::Twice}};
  const char* const given = std::getenv("PEER_GIVEN");
  return given == nullptr ? make_gloo_group(processes)
                          : testing::given_group(processes, kGiven.at(given));
}

// A run of this process: it meets the others, connects, and leaves with them at the end.
struct Peer {
  explicit Peer(int num_ranks, int capacity = 4)
      : processes(detect_world(), options_for(num_ranks)), num_ranks_(num_ranks) {
    // Another process may fail, and close its connections, while this one still connects.
    telling_failures([&] {
      transport = make_c10d_network({.processes = processes,
                                     .group = group_for(processes),
                                     .num_ranks = num_ranks,
                                     .capacity = capacity,
                                     .timeout = Seconds(seconds_of("PEER_WAIT", 30.0))});
    });
    processes.on_position([] { return std::string("rank 7: position 3, 1RECV_F3"); });
    processes.on_failure([this](const std::string&) { transport->stop(); });
  }
  ~Peer() { processes.on_failure(nullptr); }

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

  // Runs a call, and tells all processes of what it throws.
  template <typename Call>
  void telling_failures(Call&& call) {
    try {
      call();
    } catch (const std::exception& error) {
      throw Error(processes.fail(error.what()));
    }
  }

  int rank() const { return transport->local_ranks().front(); }
  Group group_of(int rank) { return Group::world(*transport, rank, num_ranks_); }

  Processes processes;
  std::unique_ptr<C10dNetwork> transport;

 private:
  int num_ranks_;
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
  Group group = peer.group_of(peer.rank());
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
      group.all_gather(std::vector<double>{});
    } else {
      group.all_gather(std::vector<double>{});
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
      group.all_gather(std::vector<double>{});
    }
    require(one_more.wait_for(std::chrono::seconds(0)) == std::future_status::timeout,
            "a full channel holds the sender");
    peer.processes.gather("full", "");
    one_more.get();
  } else {
    for (int i = 0; i < 20; ++i) {
      group.all_gather(std::vector<double>{});
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

// Exchanges that begin in another order on each rank, and some of which go one way only.
void exchanges(int num_ranks) {
  constexpr int kRounds = 20;
  constexpr int kKeys = 5;
  Peer peer(num_ranks);
  const auto value = [](int round, int key, int from, int to) {
    return 1000.0 * round + 100.0 * key + 10.0 * from + to;
  };
  const auto goes = [](int key, int from, int to) { return key != 3 || from < to; };
  const auto tensor_of = [](int key, double filled) {
    return at::full({key == 4 ? 300'000 : key + 1}, filled, at::TensorOptions(at::kDouble));
  };
  peer.on_ranks([&](int rank) {
    for (int round = 0; round < kRounds; ++round) {
      std::vector<std::vector<PeerTensors>> tensors(kKeys);
      std::vector<std::unique_ptr<Exchange>> under_way(kKeys);
      for (int i = 0; i < kKeys; ++i) {
        const int key = (i + rank + round) % kKeys;
        for (int other = 0; other < num_ranks; ++other) {
          if (other == rank) {
            continue;
          }
          PeerTensors one{.peer = other};
          if (goes(key, rank, other)) {
            one.gives = tensor_of(key, value(round, key, rank, other));
          }
          if (goes(key, other, rank)) {
            one.gets = tensor_of(key, -1.0);
          }
          tensors[static_cast<std::size_t>(key)].push_back(one);
        }
        const auto index = static_cast<std::size_t>(key);
        under_way[index] = peer.transport->begin_exchange(rank, {.key = key}, tensors[index]);
      }
      std::thread([&] {
        for (const auto& exchange : under_way) {
          exchange->wait();
        }
      }).join();
      for (int key = 0; key < kKeys; ++key) {
        for (const PeerTensors& one : tensors[static_cast<std::size_t>(key)]) {
          require(!one.gets.defined() ||
                      one.gets.equal(tensor_of(key, value(round, key, one.peer, rank))),
                  fmt::format("round {}, key {}, from {} to {}", round, key, one.peer, rank));
        }
      }
    }
  });
  peer.processes.leave();
}

// Lists of other lengths each time, and with bits that survive.
void gather(int num_ranks) {
  Peer peer(num_ranks);
  peer.on_ranks([&](int rank) {
    Group group = peer.group_of(rank);
    for (int round = 0; round < 200; ++round) {
      const auto list_of = [&](int of) {
        return std::vector<double>(static_cast<std::size_t>((round + of) % 4 * 130),
                                   round + of / 7.0);
      };
      const auto all = group.all_gather(list_of(rank));
      require(static_cast<int>(all.size()) == num_ranks, "one list for each rank");
      for (int other = 0; other < num_ranks; ++other) {
        require(all[static_cast<std::size_t>(other)] == list_of(other),
                fmt::format("round {}, rank {}", round, other));
      }
    }
  });
  peer.processes.leave();
}

// Clocks of processes on one machine are the same.
void clocks(int num_ranks) {
  Peer peer(num_ranks);
  const ClockOffset offset = peer.transport->clock_offset();
  require(std::abs(offset.seconds) <= offset.error_seconds,
          fmt::format("{} s within {} s", offset.seconds, offset.error_seconds));
  require((offset.error_seconds > 0.0) == (peer.processes.index() > 0), "process 0 is exact");
  peer.processes.leave();
}

// Three messages one way, one of them across, and none back.
void links(int num_ranks) {
  Peer peer(num_ranks);
  const Route route{.from = 0, .to = num_ranks - 1};
  if (peer.rank() == 0) {
    peer.transport->send(route, send_of(0), {at::zeros({10}, at::kFloat), at::Tensor()});
    peer.transport->send(route, send_of(1), {at::zeros({5}, at::kDouble)});
  } else {
    peer.transport->receive(route, receive_of(0));
    peer.transport->receive(route, receive_of(1));
  }
  peer.processes.gather("received", "");
  const std::vector<LinkUse> all = peer.transport->links(peer.rank());
  require(all.size() == (peer.rank() == 0 ? 1U : 0U), "one channel has been used");
  if (!all.empty()) {
    require(all.front().route.from == route.from && all.front().route.to == route.to, "its ends");
    require(all.front().bytes == 80, "its bytes");
    require(all.front().messages == 2, "its messages");
  }
  peer.processes.leave();
}

// What is told when a message does not come, or another one than expected.
void refusals(int num_ranks) {
  Peer peer(num_ranks);
  const Route route{.from = 0, .to = 1};
  const auto text_of = [&] {
    try {
      peer.transport->receive(route, receive_of(3));
    } catch (const TransportError& error) {
      return std::string(error.what());
    }
    return std::string("nothing");
  };
  if (peer.rank() == 1) {
    require(text_of() == fmt::format("waited {:g} s for 0SEND_F3 from rank 0 in {}",
                                     seconds_of("PEER_WAIT", 0.0), peer.processes.name(0)),
            "a deadline");
  }
  peer.processes.gather("waited", "");
  if (peer.rank() == 0) {
    peer.transport->send(route, send_of(2), {});
  } else {
    require(text_of() ==
                "transport: rank 1 expects 0SEND_F3 from rank 0, but 0SEND_F2 comes first; sends "
                "and receives of a pair of ranks must have one order",
            "another order");
  }
  peer.processes.leave();
}

// Process 1 stays away from each operation of a group. One deadline ends the network's waits of an
// exchange, so each operation has a group of its own.
void absences(int num_ranks) {
  Peer peer(num_ranks);
  const at::Tensor one = at::zeros({4}, at::kFloat);
  const Group::Parts two = {one, at::zeros({4}, at::kFloat)};
  const std::vector<std::pair<const char*, std::function<void(Group&)>>> operations = {
      {"exchange", [&](Group& group) { group.exchange(two, two); }},
      {"all_to_all", [&](Group& group) { group.all_to_all(two, two); }},
      {"broadcast", [&](Group& group) { group.broadcast(one, 1); }},
      {"all_gather", [&](Group& group) { group.all_gather(two); }},
      {"all_gather", [&](Group& group) { group.all_gather(std::vector<double>{1.5}); }},
      {"reduce_scatter", [&](Group& group) { group.reduce_scatter(two); }},
      {"all_reduce", [&](Group& group) { group.all_reduce(one); }}};
  Group world = peer.group_of(peer.rank());
  for (const auto& [name, run] : operations) {
    Group group = *world.split({0, 1});
    std::string text = "nothing";
    try {
      if (peer.rank() == 0) {
        run(group);
      }
    } catch (const TransportError& error) {
      text = error.what();
    }
    require(peer.rank() == 1 || text == fmt::format("waited 0.5 s for rank 1 in {} to join {} of "
                                                    "ranks 0, 1",
                                                    peer.processes.name(1), name),
            fmt::format("{}: {}", name, text));
  }
  peer.processes.gather("waited", "");
  peer.processes.leave();
}

// Waits for a message of the next rank that never comes.
void wait_for_ever(int num_ranks) {
  Peer peer(num_ranks);
  say("ready");
  const int next = (peer.rank() + 1) % num_ranks;
  peer.telling_failures(
      [&] { peer.transport->receive({.from = next, .to = peer.rank()}, receive_of(3)); });
}

// Hangs where no transport can wake it.
void hang(int num_ranks) {
  Peer peer(num_ranks);
  say("ready");
  while (true) {
    ::pause();
  }
}

// Process 1 fails by itself; the others only wait.
void fail_one(int num_ranks) {
  Peer peer(num_ranks);
  peer.telling_failures([&] {
    if (peer.rank() == 1) {
      throw Error("rank 1, position 4, 1F2: out of memory");
    }
    peer.group_of(peer.rank()).all_gather(std::vector<double>{});
  });
}

// An exception that nobody catches, on a thread that nobody knows.
void throw_on_a_thread(int num_ranks) {
  Peer peer(num_ranks);
  if (peer.rank() == 1) {
    std::thread([] { throw std::runtime_error("boom"); }).join();
  }
  peer.telling_failures([&] { peer.group_of(peer.rank()).all_gather(std::vector<double>{}); });
}

volatile std::sig_atomic_t is_over = 0;

// Passes messages until the test, by a signal, says that it has done all that it does to the ports.
void pass_messages(int num_ranks) {
  std::signal(SIGUSR1, [](int) { is_over = 1; });
  Peer peer(num_ranks);
  const Route route{.from = 0, .to = 1};
  say("ready");
  int number = 0;
  Group group = peer.group_of(peer.rank());
  const auto pass_one = [&] {
    if (peer.rank() == 0) {
      peer.transport->send(route, send_of(number), message_of(route, number));
    } else {
      require(
          are_equal(peer.transport->receive(route, receive_of(number)), message_of(route, number)),
          fmt::format("message {}", number));
    }
    const double here = is_over != 0 ? 1.0 : 0.0;
    const auto all = group.all_gather(std::vector<double>{here});
    peer.processes.gather("over", "");
    ++number;
    return all[0].front() + all[1].front() < 2.0;
  };
  peer.telling_failures([&] {
    while (pass_one()) {
    }
    peer.processes.leave();
  });
}

void agree(int num_ranks) {
  Peer peer(num_ranks);
  const std::string own = std::to_string(peer.rank());
  peer.processes.agree({{"model", "llama"}, {"schedule", "1f1b: one"}});
  peer.processes.agree({{"model", ""}, {"seed", peer.rank() == 2 ? "8" : "7"}, {"build", own}});
}

void join(int num_ranks) {
  Processes processes(detect_world(), options_for(num_ranks));
  processes.leave();
}

using Scenario = void (*)(int num_ranks);
const std::map<std::string, Scenario> kScenarios = {
    {"agree", agree},
    {"capacity", capacity},
    {"clocks", clocks},
    {"exchanges", exchanges},
    {"fail_one", fail_one},
    {"absences", absences},
    {"gather", gather},
    {"hang", hang},
    {"join", join},
    {"links", links},
    {"messages", messages},
    {"pass_messages", pass_messages},
    {"refusals", refusals},
    {"throw_on_a_thread", throw_on_a_thread},
    {"wait_for_ever", wait_for_ever},
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
