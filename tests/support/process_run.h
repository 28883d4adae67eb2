// Several processes of one program that meet at a store of the test's, with what each of them says.
#pragma once

#include "halfback/transport/store.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <memory>
#include <poll.h>
#include <sched.h>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace halfback::testing {

// One process, its stdout and stderr in a pipe. Killed with its end.
//
// It runs as a batch job: no thread that wakes up takes the core from another one. Gloo's thread
// polls without a pause while a rank holds its lock, and where processes share cores, ranks that
// lose theirs under the lock let it burn most of the time.
class RunningProcess {
 public:
  RunningProcess(const std::vector<std::string>& command,
                 const std::vector<std::string>& environment) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
      throw std::runtime_error("no pipe");
    }
    std::vector<char*> arguments = pointers(command);
    std::vector<std::string> all = environment;
    for (char** variable = environ; *variable != nullptr; ++variable) {
      all.emplace_back(*variable);
    }
    std::vector<char*> variables = pointers(all);
    process_ = ::fork();
    if (process_ == 0) {
      const sched_param no_priority{};
      ::sched_setscheduler(0, SCHED_BATCH, &no_priority);
      ::dup2(ends[1], STDOUT_FILENO);
      ::dup2(ends[1], STDERR_FILENO);
      ::execve(arguments[0], arguments.data(), variables.data());
      ::_exit(127);
    }
    ::close(ends[1]);
    output_ = ends[0];
  }
  ~RunningProcess() {
    ::close(output_);
    if (process_ > 0) {
      ::kill(process_, SIGKILL);
      ::waitpid(process_, nullptr, 0);
    }
  }
  RunningProcess(const RunningProcess&) = delete;
  RunningProcess& operator=(const RunningProcess&) = delete;

  void send(int signal) const { ::kill(process_, signal); }

  // Reads until the text has come; fails the test when the process ends without it.
  void wait_for(const std::string& text, int times = 1) {
    const auto count = [&] {
      int found = 0;
      for (std::size_t at = text_.find(text); at != std::string::npos;
           at = text_.find(text, at + 1)) {
        ++found;
      }
      return found;
    };
    while (count() < times && read_some()) {
    }
    EXPECT_GE(count(), times) << "said: " << text_;
  }

  // Returns the exit code, or minus the signal; a process that takes too long is killed.
  int wait() {
    while (read_some()) {
    }
    if (is_late_) {
      ADD_FAILURE() << "does not end; said: " << text_;
      send(SIGKILL);
    }
    int status = 0;
    ::waitpid(process_, &status, 0);
    process_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  // Returns what the process has said until its end.
  std::string end() {
    wait();
    return text_;
  }

  const std::string& text() const { return text_; }
  pid_t id() const { return process_; }

 private:
  static constexpr int kPatienceMilliseconds = 60'000;

  static std::vector<char*> pointers(const std::vector<std::string>& texts) {
    std::vector<char*> all;
    for (const std::string& text : texts) {
      all.push_back(const_cast<char*>(text.c_str()));
    }
    all.push_back(nullptr);
    return all;
  }

  bool read_some() {
    pollfd ready{.fd = output_, .events = POLLIN, .revents = 0};
    if (::poll(&ready, 1, kPatienceMilliseconds) == 0) {
      is_late_ = true;
      return false;
    }
    char bytes[4096];
    const ssize_t count = ::read(output_, bytes, sizeof(bytes));
    text_.append(bytes, count > 0 ? static_cast<std::size_t>(count) : 0);
    return count > 0;
  }

  pid_t process_ = -1;
  int output_ = -1;
  bool is_late_ = false;
  std::string text_;
};

// Who serves the store that the processes meet at.
enum class Served { ByTest, ByProcess0, ByNobody };

// Starts `count` processes: with our launcher's variables, or for Served::ByProcess0 with
// torchrun's.
class ProcessRun {
 public:
  ProcessRun(int count,
             const std::vector<std::string>& command,
             const std::vector<std::string>& environment = {},
             Served served = Served::ByTest)
      : ProcessRun(std::vector(static_cast<std::size_t>(count), command), environment, served) {}

  // The same with a command for each.
  explicit ProcessRun(const std::vector<std::vector<std::string>>& commands,
                      const std::vector<std::string>& environment = {},
                      Served served = Served::ByTest)
      : server_(std::make_unique<StoreServer>("127.0.0.1", 0)), port_(server_->port()) {
    if (served != Served::ByTest) {
      server_.reset();
    }
    const std::size_t count = commands.size();
    for (std::size_t i = 0; i < count; ++i) {
      std::vector<std::string> own = environment;
      own.emplace_back("OMP_NUM_THREADS=1");
      if (served == Served::ByProcess0) {
        own.insert(own.end(), {fmt::format("RANK={}", i), fmt::format("WORLD_SIZE={}", count),
                               fmt::format("LOCAL_WORLD_SIZE={}", count), "MASTER_ADDR=localhost",
                               fmt::format("MASTER_PORT={}", port_)});
      } else {
        own.insert(own.end(), {fmt::format("HALFBACK_PROCESS={}", i),
                               fmt::format("HALFBACK_PROCESSES={}", count),
                               fmt::format("HALFBACK_STORE=127.0.0.1:{}", port_)});
      }
      processes_.push_back(std::make_unique<RunningProcess>(commands[i], own));
    }
  }

  RunningProcess& operator[](int index) { return *processes_.at(static_cast<std::size_t>(index)); }
  int count() const { return static_cast<int>(processes_.size()); }
  int port() const { return port_; }

  void wait_for_all(const std::string& text) {
    for (const auto& process : processes_) {
      process->wait_for(text);
    }
  }

  void expect_success() {
    for (const auto& process : processes_) {
      EXPECT_EQ(process->wait(), 0) << process->text();
    }
  }

 private:
  std::unique_ptr<StoreServer> server_;
  int port_ = 0;
  std::vector<std::unique_ptr<RunningProcess>> processes_;
};

}  // namespace halfback::testing
