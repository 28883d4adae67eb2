#include "halfback/launch/subprocess.h"

#include "halfback/launch/signal_queue.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <csignal>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

namespace halfback {
namespace {

Subprocess shell(const std::string& script, bool has_terminal = false) {
  return Subprocess({.program = "/bin/sh",
                     .arguments = {"sh", "-c", script},
                     .environment = {"HALFBACK_WORD=seven", "PATH=/usr/bin:/bin"},
                     .has_terminal = has_terminal});
}

std::string read_to_end(int descriptor) {
  std::string bytes;
  pollfd wait{descriptor, POLLIN, 0};
  while (::poll(&wait, 1, -1) >= 0 && read_available(descriptor, bytes)) {
  }
  return bytes;
}

const Subprocess::End& wait_for(Subprocess& process) {
  while (!process.look().has_ended) {
    ::usleep(1000);
  }
  return process.end();
}

// An orphan's end is for its new parent to take note of, which may never happen.
bool is_running(pid_t process) {
  const std::string stat = slurp("/proc/" + std::to_string(process) + "/stat");
  return !stat.empty() && stat.find(") Z ") == std::string::npos;
}

TEST(SubprocessTest, RunsBesideAndSaysHowItEnded) {
  Subprocess process = shell("echo $HALFBACK_WORD; echo two >&2; exit 3");
  EXPECT_EQ(read_to_end(process.output()), "seven\n");
  EXPECT_EQ(read_to_end(process.error_output()), "two\n");
  EXPECT_EQ(wait_for(process).exit_code, 3);
  EXPECT_EQ(process.end().signal, 0);
}

TEST(SubprocessTest, AProgramThatIsNotThereSaysSo) {
  Subprocess process({.program = "/no/such/program", .arguments = {}, .environment = {}});
  EXPECT_EQ(read_to_end(process.error_output()),
            "error: the program cannot be started: No such file or directory");
  EXPECT_EQ(wait_for(process).exit_code, 127);
}

TEST(SubprocessTest, ItsErrorsGoToATerminalWhereAskedFor) {
  Subprocess process = shell("test -t 2 && printf 'yes\\n' >&2; test -t 0 || echo no >&2", true);
  EXPECT_EQ(read_to_end(process.error_output()), "yes\nno\n");
}

TEST(SubprocessTest, TakesASignalAndAllItStartedTakesItToo) {
  Subprocess process =
      shell("trap 'echo caught; exit 5' TERM; sh -c 'echo ready; exec sleep 100' & wait");
  std::string bytes;
  while (bytes != "ready\n") {
    read_available(process.output(), bytes);
  }
  process.send(SIGTERM);
  EXPECT_EQ(read_to_end(process.output()), "caught\n") << "sleep has the pipe open until it ends";
  EXPECT_EQ(wait_for(process).exit_code, 5);
}

TEST(SubprocessTest, LeavesNothingBehind) {
  std::string bytes;
  {
    Subprocess process = shell("sleep 100 & echo $!; kill -STOP $$");
    while (bytes.find('\n') == std::string::npos) {
      read_available(process.output(), bytes);
    }
  }
  while (is_running(std::stoi(bytes))) {
    ::usleep(1000);
  }
}

TEST(SubprocessTest, EndsWithTheOneThatMadeIt) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t middle = ::fork();
  if (middle == 0) {
    const Subprocess process = shell("exec sleep 100");
    const pid_t id = process.id();
    [[maybe_unused]] const ssize_t written = ::write(ends[1], &id, sizeof(id));
    ::kill(::getpid(), SIGKILL);
  }
  pid_t id = 0;
  ASSERT_EQ(::read(ends[0], &id, sizeof(id)), static_cast<ssize_t>(sizeof(id)));
  ::waitpid(middle, nullptr, 0);
  while (is_running(id)) {
    ::usleep(1000);
  }
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(SignalQueueTest, HoldsSignalsUntilTheyAreTaken) {
  SignalQueue queue({SIGTERM, SIGWINCH});
  EXPECT_EQ(queue.take(), std::nullopt);
  ::kill(::getpid(), SIGTERM);
  pollfd wait{queue.descriptor(), POLLIN, 0};
  ASSERT_EQ(::poll(&wait, 1, -1), 1);
  EXPECT_EQ(queue.take(), SIGTERM);
  EXPECT_EQ(queue.take(), std::nullopt);
}

}  // namespace
}  // namespace halfback
