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
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace halfback::testing {

// One process, its stdout and stderr in a pipe. Killed with its end.
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
  void wait_for(const std::string& text) {
    while (text_.find(text) == std::string::npos && read_some()) {
    }
    EXPECT_NE(text_.find(text), std::string::npos) << "said: " << text_;
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

  const std::string& text() const { return text_; }

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

// Starts `count` processes with our launcher's variables.
class ProcessRun {
 public:
  ProcessRun(int count,
             const std::vector<std::string>& command,
             const std::vector<std::string>& environment = {})
      : ProcessRun(std::vector(static_cast<std::size_t>(count), command), environment) {}

  // The same with a command for each.
  explicit ProcessRun(const std::vector<std::vector<std::string>>& commands,
                      const std::vector<std::string>& environment = {})
      : server_("127.0.0.1", 0) {
    for (std::size_t i = 0; i < commands.size(); ++i) {
      std::vector<std::string> own = environment;
      own.push_back(fmt::format("HALFBACK_PROCESS={}", i));
      own.push_back(fmt::format("HALFBACK_PROCESSES={}", commands.size()));
      own.push_back(fmt::format("HALFBACK_STORE=127.0.0.1:{}", server_.port()));
      processes_.push_back(std::make_unique<RunningProcess>(commands[i], own));
    }
  }

  RunningProcess& operator[](std::size_t index) { return *processes_.at(index); }
  int port() const { return server_.port(); }

  // All must end with 0.
  void expect_success() {
    for (const auto& process : processes_) {
      EXPECT_EQ(process->wait(), 0) << process->text();
    }
  }

 private:
  StoreServer server_;
  std::vector<std::unique_ptr<RunningProcess>> processes_;
};

}  // namespace halfback::testing
