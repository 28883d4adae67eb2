// The program in a copy of the test's own process, which has started torch already: that takes a
// quarter of a second. Processes that the program starts, and what only a shell understands, take
// the binary.
#include "cli/program.h"
#include "tests/support/command.h"

#include <array>
#include <cstdio>
#include <fcntl.h>
#include <optional>
#include <string_view>
#include <unistd.h>
#include <utility>
#include <vector>
#include <wordexp.h>

namespace halfback::testing {

namespace {

enum class Stream { AsItIs, Kept, Dropped };

struct Command {
  std::vector<std::string> words;
  Stream output = Stream::Kept;
  Stream errors = Stream::AsItIs;
};

// Takes a suffix away.
bool take(std::string& text, std::string_view suffix) {
  const bool is_there = text.ends_with(suffix);
  text.resize(text.size() - (is_there ? suffix.size() : 0));
  return is_there;
}

// Returns nothing for what has to go through a shell.
std::optional<Command> parse(std::string arguments) {
  Command command{.words = {"halfback"}};
  if (take(arguments, " 2>/dev/null")) {
    command.errors = Stream::Dropped;
  } else if (take(arguments, " 2>&1 >/dev/null")) {
    command.errors = Stream::Kept;
    command.output = Stream::Dropped;
  } else if (take(arguments, " 2>&1")) {
    command.errors = Stream::Kept;
  }
  wordexp_t found{};
  if (arguments.find("--processes") != std::string::npos ||
      ::wordexp(arguments.c_str(), &found, WRDE_NOCMD) != 0) {
    return std::nullopt;
  }
  command.words.insert(command.words.end(), found.we_wordv, found.we_wordv + found.we_wordc);
  ::wordfree(&found);
  return command;
}

void redirect(int descriptor, Stream stream, int output) {
  if (stream != Stream::AsItIs) {
    ::dup2(stream == Stream::Kept ? output : ::open("/dev/null", O_WRONLY | O_CLOEXEC), descriptor);
  }
}

[[noreturn]] void run_here(Command command, int output) {
  redirect(STDOUT_FILENO, command.output, output);
  redirect(STDERR_FILENO, command.errors, output);
  ::close(output);
  std::vector<char*> pointers;
  for (std::string& word : command.words) {
    pointers.push_back(word.data());
  }
  pointers.push_back(nullptr);
  const int code = cli::run_program(static_cast<int>(command.words.size()), pointers.data());
  std::fflush(nullptr);
  ::_exit(code);  // without the destructors of torch, which would take most of the time
}

}  // namespace

CommandResult run_halfback(const std::string& arguments) {
  std::optional<Command> command = parse(arguments);
  int ends[2];
  if (!command || ::pipe2(ends, O_CLOEXEC) != 0) {
    return run_command(std::string(HALFBACK_BINARY) + " " + arguments);
  }
  std::fflush(nullptr);
  const pid_t process = ::fork();
  if (process == 0) {
    run_here(*std::move(command), ends[1]);
  }
  ::close(ends[1]);
  CommandResult result;
  std::array<char, 4096> block{};
  for (ssize_t count = 0; (count = ::read(ends[0], block.data(), block.size())) > 0;) {
    result.output.append(block.data(), static_cast<std::size_t>(count));
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(process, &status, 0);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return result;
}

}  // namespace halfback::testing
