// Processes that cannot meet, disagree, fail, hang and are killed: all others end, and say why.
#include "halfback/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/process_run.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <arpa/inet.h>
#include <filesystem>
#include <fstream>
#include <netinet/in.h>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace halfback::testing {
namespace {

std::vector<std::string> peer(const std::string& scenario, int num_ranks) {
  return {HALFBACK_PEER, scenario, std::to_string(num_ranks)};
}

// Waits for the end of all processes but one. Each must fail, and say all of the texts.
void expect_failures(ProcessRun& run, int except, const std::vector<std::string>& texts) {
  for (int i = 0; i < run.count(); ++i) {
    if (i != except) {
      EXPECT_EQ(run[i].wait(), 1) << run[i].text();
      for (const std::string& text : texts) {
        EXPECT_TRUE(contains(run[i].text(), text)) << i << " said: " << run[i].text();
      }
    }
  }
}

// What a process with one rank is called.
std::string name_of(ProcessRun& run, int process) {
  char host[256] = {};
  ::gethostname(host, sizeof(host) - 1);
  return fmt::format("process {} (rank {}, pid {} on {})", process, process, run[process].id(),
                     host);
}

const std::string kPosition = "rank 7: position 3, 1RECV_F3";

TEST(ProcessesTest, MeetAndLeaveWhoeverServesTheStore) {
  ProcessRun(3, peer("join", 3)).expect_success();
  ProcessRun(3, peer("join", 3), {}, Served::ByProcess0).expect_success();
  ProcessRun(1, peer("join", 3)).expect_success();
}

TEST(ProcessesTest, WhatIsNotTheSameIsNamedToAll) {
  ProcessRun run(3, peer("agree", 3));
  expect_failures(run, -1,
                  {"error: processes: seed is not the same in all: 7 in process 0 (rank 0, pid ",
                   ", and 8 in process 2 (rank 2, pid "});
}

TEST(ProcessesTest, NoStoreIsAnErrorThatSaysWhereItShouldBe) {
  ProcessRun run(2, peer("join", 2), {"PEER_JOIN=1", "PEER_NOTE=0"}, Served::ByNobody);
  const std::string where = fmt::format("127.0.0.1:{}", run.port());
  expect_failures(run, -1,
                  {"waiting for the store at " + where + ", which the launcher (halfback) serves\n",
                   " of 2 tried for 1 s: no store answers at " + where,
                   "); the launcher (halfback) serves it"});
}

TEST(ProcessesTest, AnInterfaceThatIsNotThereIsNamed) {
  ProcessRun run(2, peer("join", 2), {"GLOO_SOCKET_IFNAME=none0"});
  expect_failures(run, -1,
                  {"environment: GLOO_SOCKET_IFNAME=none0, and this machine has no such "});
}

TEST(ProcessesTest, WhoeverElseListensThereIsFoundOut) {
  const int mute = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  socklen_t length = sizeof(address);
  ASSERT_EQ(::bind(mute, any, length), 0);
  ASSERT_EQ(::listen(mute, 8), 0);
  ASSERT_EQ(::getsockname(mute, any, &length), 0);
  EXPECT_EQ(text_of_thrown<TransportError>([&] {
              // Half of it is for the connection, which a busy machine makes late.
              StoreClient("127.0.0.1", ntohs(address.sin_port), std::chrono::seconds(10));
            }),
            fmt::format("what listens at 127.0.0.1:{} does not answer as a store does; give the "
                        "run a port of its own",
                        ntohs(address.sin_port)));
  ::close(mute);
}

TEST(ProcessesTest, WhoHasNotComeIsNamed) {
  StoreServer server("127.0.0.1", 0);
  RunningProcess alone(peer("join", 2),
                       {"HALFBACK_PROCESS=0", "HALFBACK_PROCESSES=2",
                        fmt::format("HALFBACK_STORE=127.0.0.1:{}", server.port()), "PEER_JOIN=1"});
  EXPECT_EQ(alone.wait(), 1);
  EXPECT_TRUE(contains(alone.text(), fmt::format("waited 1 s at 127.0.0.1:{} for process 1 (rank "
                                                 "1) to join",
                                                 server.port())))
      << alone.text();
}

TEST(ProcessesTest, TheFirstThatIsThereTellsWhatItWaitsFor) {
  StoreServer server("127.0.0.1", 0);
  const auto start = [&](int index) {
    return std::make_unique<RunningProcess>(
        peer("join", 3),
        std::vector<std::string>{fmt::format("HALFBACK_PROCESS={}", index), "HALFBACK_PROCESSES=3",
                                 fmt::format("HALFBACK_STORE=127.0.0.1:{}", server.port()),
                                 "PEER_NOTE=0"});
  };
  const auto second = start(1);
  second->wait_for(fmt::format("waiting for 2 of 3 processes at 127.0.0.1:{}\n", server.port()));
  const auto third = start(2);
  const auto first = start(0);
  for (RunningProcess* const process : {first.get(), second.get(), third.get()}) {
    EXPECT_EQ(process->wait(), 0) << process->text();
  }
  EXPECT_FALSE(contains(third->text(), "processes at")) << third->text();
}

TEST(ProcessesTest, TwoRunsAtOneStoreAreRefused) {
  StoreServer server("127.0.0.1", 0);
  const auto start = [&](int index, int count) {
    return RunningProcess(
               peer("join", 12),
               {fmt::format("HALFBACK_PROCESS={}", index),
                fmt::format("HALFBACK_PROCESSES={}", count),
                fmt::format("HALFBACK_STORE=127.0.0.1:{}", server.port()), "PEER_JOIN=5"})
        .end();
  };
  start(0, 3);
  EXPECT_TRUE(contains(start(0, 3), "both are process 0 of the run"));
  EXPECT_TRUE(contains(start(1, 4), "this is process 1 of 4, and others at 127.0.0.1"));
}

TEST(ProcessesTest, AFailureOfOneIsTheErrorOfAll) {
  ProcessRun run(3, peer("fail_one", 3));
  expect_failures(run, -1,
                  {"error: process 1 (rank 1, pid ",
                   "): rank 1, position 4, 1F2: out of memory\n"
                   "  process 0 (rank 0, pid ",
                   kPosition});
}

TEST(ProcessesTest, AnExceptionThatNobodyCatchesReachesAll) {
  ProcessRun run(3, peer("throw_on_a_thread", 3));
  expect_failures(run, -1, {"process 1 (rank 1, pid ", "a thread ended with: boom"});
}

TEST(ProcessesTest, AKilledProcessEndsAllOthersAtOnce) {
  for (const Served served : {Served::ByTest, Served::ByProcess0}) {
    for (const int victim : {0, 2}) {
      ProcessRun run(3, peer("wait_for_ever", 3), {}, served);
      run.wait_for_all("ready");
      run[victim].send(SIGKILL);
      expect_failures(run, victim, {name_of(run, victim) + " is gone: ", kPosition});
    }
  }
}

TEST(ProcessesTest, SurvivorsThatNothingWakesAreEnded) {
  ProcessRun run(3, peer("hang", 3));
  run.wait_for_all("ready");
  run[1].send(SIGKILL);
  expect_failures(run, 1, {"error: process 1 (rank 1, pid ", " is gone: "});
}

TEST(ProcessesTest, AStoppedProcessIsMissedByAllOthers) {
  for (const Served served : {Served::ByTest, Served::ByProcess0}) {
    ProcessRun run(3, peer("wait_for_ever", 3), {"PEER_TIMEOUT=3"}, served);
    run.wait_for_all("ready");
    run[0].send(SIGSTOP);
    expect_failures(run, 0, {name_of(run, 0) + " has sent no heartbeat for 3 s", kPosition});
  }
}

// Ports at which a process listens, from /proc.
std::vector<int> ports_of(pid_t process) {
  std::set<std::string> sockets;
  for (const auto& entry :
       std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", process))) {
    std::error_code gone;
    const std::string target = std::filesystem::read_symlink(entry, gone);
    if (target.starts_with("socket:[")) {
      sockets.insert(target.substr(8, target.size() - 9));
    }
  }
  std::vector<int> ports;
  for (const char* table : {"tcp", "tcp6"}) {
    std::ifstream lines(fmt::format("/proc/{}/net/{}", process, table));
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      std::string number;
      std::string local;
      std::string remote;
      std::string state;
      words >> number >> local >> remote >> state;
      std::string word;
      for (int skipped = 0; skipped < 6; ++skipped) {
        words >> word;
      }
      if (state == "0A" && sockets.contains(word)) {
        EXPECT_TRUE(local.starts_with("0100007F:") ||
                    local.starts_with("00000000000000000000000001000000:"))
            << local << " is not loopback";
        ports.push_back(std::stoi(local.substr(local.find(':') + 1), nullptr, 16));
      }
    }
  }
  return ports;
}

// Says something to a port of this machine and hangs up, or stays.
int strange_call(int port, const std::string& bytes) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0) << port;
  ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  return fd;
}

TEST(ProcessesTest, StrangersAtThePortsChangeNothing) {
  ProcessRun run(2, peer("pass_messages", 2), {}, Served::ByProcess0);
  run.wait_for_all("ready");
  std::vector<int> ports = ports_of(run[0].id());
  EXPECT_EQ(ports.size(), 2U) << "the store's and Gloo's";
  for (const int port : ports_of(run[1].id())) {
    ports.push_back(port);
  }
  EXPECT_EQ(ports.size(), 3U);
  std::mt19937 random(7);
  std::vector<int> open;
  for (int round = 0; round < 40; ++round) {
    std::string bytes(round % 5 == 0 ? 0 : 1U << (random() % 14), '\0');
    std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<char>(random()); });
    if (round % 5 == 1) {
      bytes = "GET / HTTP/1.1\r\n\r\n";
    }
    for (const int port : ports) {
      open.push_back(strange_call(port, bytes));
      if (round % 2 == 0) {
        ::close(open.back());
        open.pop_back();
      }
    }
  }
  run[0].send(SIGUSR1);
  run[1].send(SIGUSR1);
  run.expect_success();
  for (const int fd : open) {
    ::close(fd);
  }
}

}  // namespace
}  // namespace halfback::testing
