#include "halfback/launch/subprocess.h"

#include "halfback/base/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <pty.h>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>

namespace halfback {

namespace {

struct Ends {
  int read = -1;
  int write = -1;
};

[[noreturn]] void fail(const char* what) {
  throw Error(fmt::format("process: cannot make {}: {}; close other programs or raise their limit",
                          what, std::generic_category().message(errno)));
}

Ends make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    fail("a pipe");
  }
  return {ends[0], ends[1]};
}

winsize terminal_size() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0) {
    size = {.ws_row = 24, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
  }
  return size;
}

// Bytes pass unchanged in both directions.
Ends make_terminal() {
  const winsize size = terminal_size();
  Ends ends;
  if (::openpty(&ends.read, &ends.write, nullptr, nullptr, &size) != 0) {
    fail("a terminal");
  }
  termios mode{};
  ::tcgetattr(ends.write, &mode);
  ::cfmakeraw(&mode);
  ::tcsetattr(ends.write, TCSANOW, &mode);
  ::fcntl(ends.read, F_SETFD, FD_CLOEXEC);
  ::fcntl(ends.write, F_SETFD, FD_CLOEXEC);
  return ends;
}

std::vector<std::string> merged_environment(const std::vector<std::string>& added) {
  const auto name = [](std::string_view entry) { return entry.substr(0, entry.find('=')); };
  std::vector<std::string> all = added;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const bool is_replaced = std::any_of(added.begin(), added.end(), [&](const std::string& one) {
      return name(one) == name(*entry);
    });
    if (!is_replaced) {
      all.emplace_back(*entry);
    }
  }
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  all.reserve(texts.size() + 1);
  for (std::string& text : texts) {
    all.push_back(text.data());
  }
  all.push_back(nullptr);
  return all;
}

// What the child does between fork and the new program: only calls that are safe there.
struct Start {
  pid_t parent;
  const char* program;
  int output;
  int error_output;
  char* const* arguments;
  char* const* environment;

  [[noreturn]] void run() const {
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) {
      ::_exit(127);  // the parent ended before the line above
    }
    sigset_t none;
    sigemptyset(&none);
    ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGPIPE, SIG_DFL);
    ::dup2(::open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
    ::dup2(output, STDOUT_FILENO);
    ::dup2(error_output, STDERR_FILENO);
    ::execve(program, arguments, environment);
    const std::string_view reason = ::strerrordesc_np(errno);
    constexpr std::string_view kWhat = "error: the program cannot be started: ";
    [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, kWhat.data(), kWhat.size());
    written = ::write(STDERR_FILENO, reason.data(), reason.size());
    ::_exit(127);
  }
};

}  // namespace

Subprocess::Subprocess(const Command& command) {
  std::vector<std::string> arguments = command.arguments;
  std::vector<std::string> environment = merged_environment(command.environment);
  const std::vector<char*> argument_pointers = pointers(arguments);
  const std::vector<char*> environment_pointers = pointers(environment);
  const Ends output = make_pipe();
  const Ends error_output = command.has_terminal ? make_terminal() : make_pipe();
  const Start start{.parent = ::getpid(),
                    .program = command.program.c_str(),
                    .output = output.write,
                    .error_output = error_output.write,
                    .arguments = argument_pointers.data(),
                    .environment = environment_pointers.data()};
  id_ = ::fork();
  if (id_ == 0) {
    start.run();
  }
  const int error = errno;
  ::close(output.write);
  ::close(error_output.write);
  output_ = output.read;
  error_output_ = error_output.read;
  if (id_ < 0) {
    ::close(output_);
    ::close(error_output_);
    errno = error;
    fail("a process");
  }
  ::setpgid(id_, id_);  // parent and child both do it, since either may be first
  for (const int descriptor : {output_, error_output_}) {
    ::fcntl(descriptor, F_SETFL, O_NONBLOCK);
  }
}

Subprocess::~Subprocess() {
  if (!end_.has_ended) {
    ::kill(-id_, SIGKILL);
    ::waitpid(id_, nullptr, 0);
  }
  ::close(output_);
  ::close(error_output_);
}

void Subprocess::send(int signal) const {
  if (!end_.has_ended) {
    ::kill(-id_, signal);
  }
}

void Subprocess::resize_terminal() const {
  const winsize size = terminal_size();
  ::ioctl(error_output_, TIOCSWINSZ, &size);
}

const Subprocess::End& Subprocess::look() {
  siginfo_t info{};
  if (end_.has_ended ||
      ::waitid(P_PID, static_cast<id_t>(id_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
      info.si_pid == 0) {
    return end_;
  }
  ::kill(-id_, SIGKILL);  // before the wait below frees its process id
  int status = 0;
  ::waitpid(id_, &status, 0);
  end_ = {.has_ended = true,
          .exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 0,
          .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0};
  return end_;
}

bool read_available(int descriptor, std::string& bytes) {
  std::array<char, 1 << 14> block{};
  const ssize_t count = ::read(descriptor, block.data(), block.size());
  if (count > 0) {
    bytes.append(block.data(), static_cast<std::size_t>(count));
  }
  // Reading a terminal without writers fails with EIO.
  return count > 0 || (count < 0 && (errno == EAGAIN || errno == EINTR));
}

}  // namespace halfback
