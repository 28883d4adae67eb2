// A run of the binary that a test talks to while it runs.
#pragma once

#include <csignal>
#include <fcntl.h>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace halfback::testing {

// Starts "halfback ARGUMENTS" with its stderr in a pipe. The pipe is all but full from the start
// and room comes only page by page: a run that writes a second line waits for the reader, so it
// cannot end before a signal that follows the first line.
class ChildProcess {
 public:
  explicit ChildProcess(const std::vector<std::string>& arguments) {
    int ends[2];
    if (::pipe(ends) != 0) {
      throw std::runtime_error("no pipe");
    }
    ::fcntl(ends[1], F_SETPIPE_SZ, 4096);
    const std::string filler(kFiller, '\n');
    if (::write(ends[1], filler.data(), filler.size()) != static_cast<ssize_t>(filler.size())) {
      throw std::runtime_error("no room in the pipe");
    }
    std::vector<char*> pointers = {const_cast<char*>(HALFBACK_BINARY)};
    for (const std::string& argument : arguments) {
      pointers.push_back(const_cast<char*>(argument.c_str()));
    }
    pointers.push_back(nullptr);
    process_ = ::fork();
    if (process_ == 0) {
      ::dup2(ends[1], STDERR_FILENO);
      ::dup2(::open("/dev/null", O_WRONLY | O_CLOEXEC), STDOUT_FILENO);
      ::close(ends[0]);
      ::close(ends[1]);
      ::execv(HALFBACK_BINARY, pointers.data());
      ::_exit(127);
    }
    ::close(ends[1]);
    stderr_ = ends[0];
    for (std::size_t i = 0; i < kFiller; ++i) {
      read_byte();
    }
  }
  ~ChildProcess() {
    ::close(stderr_);
    if (process_ > 0) {
      ::kill(process_, SIGKILL);
      ::waitpid(process_, nullptr, 0);
    }
  }
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // Waits for the first byte of stderr; false when it ended without one.
  bool wait_for_output() {
    const int byte = read_byte();
    if (byte >= 0) {
      text_ += static_cast<char>(byte);
    }
    return byte >= 0;
  }

  void send(int signal) const { ::kill(process_, signal); }

  // Waits for the end. Returns the exit code, or minus the signal that ended it.
  int wait() {
    for (int byte = read_byte(); byte >= 0; byte = read_byte()) {
      text_ += static_cast<char>(byte);
    }
    int status = 0;
    ::waitpid(process_, &status, 0);
    process_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  const std::string& text() const { return text_; }  // of stderr

 private:
  static constexpr std::size_t kFiller = 4000;

  int read_byte() const {
    char byte = 0;
    ssize_t count = 0;
    do {
      count = ::read(stderr_, &byte, 1);
    } while (count < 0 && errno == EINTR);
    return count == 1 ? static_cast<unsigned char>(byte) : -1;
  }

  pid_t process_ = -1;
  int stderr_ = -1;
  std::string text_;
};

}  // namespace halfback::testing
