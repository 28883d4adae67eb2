#include "halfback/launch/process_team.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/launch/line_reader.h"
#include "halfback/launch/merged_output.h"
#include "halfback/launch/subprocess.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <poll.h>
#include <unistd.h>

namespace halfback {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view kError = "error: ";

// Standard output and error of this process; one stream if they are the same terminal.
class Streams {
 public:
  MergedOutput& output() { return are_one_ ? errors_ : output_; }
  MergedOutput& errors() { return errors_; }

 private:
  MergedOutput output_{STDOUT_FILENO};
  MergedOutput errors_{STDERR_FILENO};
  bool are_one_ = ::isatty(STDOUT_FILENO) == 1 && ::isatty(STDERR_FILENO) == 1;
};

class Member {
 public:
  Member(const TeamRequest& request, std::size_t index, Streams& streams)
      : name_(request.processes[index].name),
        prefix_(index == 0 ? "" : fmt::format("[process {}] ", index)),
        streams_(streams),
        process_({.program = request.program,
                  .arguments = request.arguments,
                  .environment = request.processes[index].environment,
                  .has_terminal = index == 0 && ::isatty(STDERR_FILENO) == 1}),
        output_reader_([this](std::string_view line) { take_line(line); }),
        error_reader_([this](std::string_view line) { take_error_line(line); }) {
    if (!request.log_directory.empty()) {
      log_ = std::make_unique<OutputFile>(
          std::filesystem::path(request.log_directory) / fmt::format("process_{}.log", index),
          OpenMode::Append);
    }
  }

  Member(const Member&) = delete;
  Member& operator=(const Member&) = delete;

  const std::string& name() const { return name_; }
  const std::string& prefix() const { return prefix_; }
  const std::string& error() const { return error_; }
  Subprocess& process() { return process_; }
  const Subprocess::End& end() const { return process_.end(); }

  std::vector<pollfd> descriptors() const {
    return {{has_output_ ? process_.output() : -1, POLLIN, 0},
            {has_errors_ ? process_.error_output() : -1, POLLIN, 0}};
  }

  // Reads its output. Stderr comes first: a run ends its progress bar just before it prints
  // results.
  void read() {
    has_errors_ = has_errors_ && read(process_.error_output(), error_reader_);
    if (prefix_.empty() && error_.empty()) {
      streams_.errors().show_unfinished(error_reader_.unfinished());
    }
    has_output_ = has_output_ && read(process_.output(), output_reader_);
  }

  // Reads what is left after it has ended.
  void read_to_end() {
    num_read_ = 1;
    while (num_read_ > 0) {
      num_read_ = 0;
      read();
    }
    output_reader_.finish();
    error_reader_.finish();
    read();
  }

 private:
  bool read(int descriptor, LineReader& reader) {
    std::string bytes;
    const bool has_more = read_available(descriptor, bytes);
    num_read_ += bytes.size();
    reader.add(bytes);
    return has_more;
  }

  void take_line(std::string_view line) {
    log(line);
    streams_.output().write_line(prefix_, line);
  }

  void take_error_line(std::string_view line) {
    log(line);
    if (!error_.empty()) {
      error_ += fmt::format("\n{}", line);
    } else if (line.starts_with(kError)) {
      error_ = line.substr(kError.size());
    } else {
      streams_.errors().write_line(prefix_, line);
    }
  }

  void log(std::string_view line) {
    if (log_) {
      log_->write(fmt::format("{}\n", line));
    }
  }

  std::string name_;
  std::string prefix_;
  Streams& streams_;
  Subprocess process_;
  LineReader output_reader_;
  LineReader error_reader_;
  std::unique_ptr<OutputFile> log_;
  std::string error_;
  bool has_output_ = true;
  bool has_errors_ = true;
  std::size_t num_read_ = 0;
};

class Team {
 public:
  Team(const TeamRequest& request, SignalQueue& signals) : request_(request), signals_(signals) {
    for (std::size_t index = 0; index < request.processes.size(); ++index) {
      members_.push_back(std::make_unique<Member>(request, index, streams_));
    }
  }

  TeamOutcome run() {
    while (is_running()) {
      wait();
      while (const std::optional<int> signal = signals_.take()) {
        take_signal(*signal);
      }
      for (const auto& member : members_) {
        member->read();
        look_at(*member);
      }
      press();
    }
    return outcome();
  }

 private:
  bool is_running() const {
    return std::any_of(members_.begin(), members_.end(),
                       [](const auto& member) { return !member->end().has_ended; });
  }

  void wait() const {
    std::vector<pollfd> all = {{signals_.descriptor(), POLLIN, 0}};
    for (const auto& member : members_) {
      for (const pollfd& one : member->descriptors()) {
        all.push_back(one);
      }
    }
    int timeout = -1;
    if (pressed_at_) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(*pressed_at_ - Clock::now());
      timeout = static_cast<int>(std::max<std::int64_t>(left.count(), 0));
    }
    ::poll(all.data(), all.size(), timeout);
  }

  void take_signal(int signal) {
    if (signal == SIGWINCH) {
      members_.front()->process().resize_terminal();
    }
    if (signal != SIGINT && signal != SIGTERM) {
      return;
    }
    send(signal);
    if (is_interrupted_) {
      press_after(request_.moment, SIGKILL);
    }
    is_interrupted_ = true;
  }

  void look_at(Member& member) {
    if (member.end().has_ended || !member.process().look().has_ended) {
      return;
    }
    member.read_to_end();
    const Subprocess::End& end = member.end();
    const bool was_sent = end.signal == SIGINT || end.signal == SIGTERM || end.signal == SIGKILL;
    const bool has_failed =
        end.exit_code != 0 || (end.signal != 0 && !(is_interrupted_ && was_sent));
    // If several are found to have ended, one that a signal ended was first, and the rest followed.
    const bool has_died = end.signal != 0 && !was_pressed_;
    if (has_failed &&
        (first_failed_ == nullptr || (has_died && first_failed_->end().signal == 0))) {
      first_failed_ = &member;
    }
    if ((has_failed || end.signal != 0) && !pressed_at_) {
      press_after(request_.grace, SIGTERM);
    }
  }

  void send(int signal) const {
    for (const auto& member : members_) {
      member->process().send(signal);
    }
  }

  void press_after(Clock::duration grace, int signal) {
    pressed_at_ = Clock::now() + grace;
    next_signal_ = signal;
  }

  // Ends those whose time is up.
  void press() {
    if (!pressed_at_ || Clock::now() < *pressed_at_) {
      return;
    }
    send(next_signal_);
    was_pressed_ = true;
    press_after(request_.moment, SIGKILL);
  }

  TeamOutcome outcome() {
    if (first_failed_ == nullptr) {
      return {.exit_code = is_interrupted_ ? kInterruptedExit : 0, .error = {}};
    }
    if (first_failed_->end().exit_code == kInterruptedExit) {
      return {.exit_code = kInterruptedExit, .error = {}};
    }
    const Member& speaker = this->speaker();
    for (const auto& member : members_) {
      if (!member->error().empty() && member->error() != speaker.error()) {
        streams_.errors().write_line(member->prefix(),
                                     fmt::format("{}{}", kError, member->error()));
      }
    }
    return {.exit_code = speaker.end().signal != 0 ? 1 : speaker.end().exit_code,
            .error = reason(speaker.error())};
  }

  // The process whose reason counts.
  const Member& speaker() const {
    if (first_failed_->error().empty()) {
      for (const auto& member : members_) {
        if (!member->error().empty()) {
          return *member;
        }
      }
    }
    return *first_failed_;
  }

  std::string reason(const std::string& said) const {
    const Subprocess::End& end = first_failed_->end();
    if (end.signal != 0) {
      return fmt::format("{} was ended by signal {} ({}){}{}", first_failed_->name(), end.signal,
                         ::sigdescr_np(end.signal), said.empty() ? "" : "; ", said);
    }
    return !said.empty() ? said
                         : fmt::format("{} ended with exit code {} and gave no reason",
                                       first_failed_->name(), end.exit_code);
  }

  const TeamRequest& request_;
  SignalQueue& signals_;
  Streams streams_;
  std::vector<std::unique_ptr<Member>> members_;
  const Member* first_failed_ = nullptr;
  bool is_interrupted_ = false;
  bool was_pressed_ = false;
  std::optional<Clock::time_point> pressed_at_;  // when the next signal is sent
  int next_signal_ = 0;
};

}  // namespace

SignalQueue team_signals() { return {SIGINT, SIGTERM, SIGCHLD, SIGWINCH, SIGTSTP}; }

TeamOutcome run_team(const TeamRequest& request, SignalQueue& signals) {
  return Team(request, signals).run();
}

}  // namespace halfback
