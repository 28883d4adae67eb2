#include "halfback/launch/jobs.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <memory>
#include <optional>
#include <poll.h>

namespace halfback {

namespace {

struct Running {
  explicit Running(const Job& job) : number(job.number), process(job.command) {}

  // Returns whether it has ended, with everything that it has printed.
  bool look() {
    const bool has_ended = process.look().has_ended;
    do {
      has_output = has_output && read_available(process.output(), output);
      has_errors = has_errors && read_available(process.error_output(), errors);
    } while (has_ended && (has_output || has_errors));
    return has_ended;
  }

  bool has_failed() const { return process.end().exit_code != 0 || process.end().signal != 0; }

  std::string reason() const {
    constexpr std::string_view kError = "error: ";
    if (process.end().signal != 0) {
      return fmt::format("it was ended by signal {}", process.end().signal);
    }
    const std::size_t at = errors.find(kError);
    std::string text = at == std::string::npos ? errors : errors.substr(at + kError.size());
    while (text.ends_with('\n')) {
      text.pop_back();
    }
    return text;
  }

  int number;
  Subprocess process;
  std::string output;
  std::string errors;
  bool has_output = true;
  bool has_errors = true;
};

void wait(const std::vector<std::unique_ptr<Running>>& running, const SignalQueue& signals) {
  std::vector<pollfd> all = {{signals.descriptor(), POLLIN, 0}};
  for (const auto& one : running) {
    all.push_back({one->has_output ? one->process.output() : -1, POLLIN, 0});
    all.push_back({one->has_errors ? one->process.error_output() : -1, POLLIN, 0});
  }
  ::poll(all.data(), all.size(), -1);
}

std::optional<int> ending_signal(SignalQueue& signals) {
  while (const std::optional<int> signal = signals.take()) {
    if (*signal == SIGINT || *signal == SIGTERM) {
      return signal;
    }
  }
  return std::nullopt;
}

using Processes = std::vector<std::unique_ptr<Running>>;

// Hands on the results of those that have ended. Returns the outcome if one of them has failed.
std::optional<JobsOutcome> take_ended(Processes& running, const JobsRequest& request) {
  for (auto one = running.begin(); one != running.end();) {
    Running& process = **one;
    if (!process.look()) {
      ++one;
      continue;
    }
    if (process.has_failed()) {
      return JobsOutcome{.exit_code = std::max(process.process.end().exit_code, 1),
                         .failed_job = process.number,
                         .error = process.reason()};
    }
    request.on_result(process.number, process.output);
    one = running.erase(one);
  }
  return std::nullopt;
}

}  // namespace

JobsOutcome run_jobs(const JobsRequest& request, SignalQueue& signals) {
  Processes running;
  auto next = request.jobs.begin();
  while (true) {
    while (next != request.jobs.end() &&
           running.size() < static_cast<std::size_t>(request.num_at_once)) {
      running.push_back(std::make_unique<Running>(*next++));
    }
    if (running.empty()) {
      return {};
    }
    wait(running, signals);
    if (const std::optional<int> signal = ending_signal(signals)) {
      return {.signal = *signal};
    }
    if (const std::optional<JobsOutcome> failure = take_ended(running, request)) {
      return *failure;
    }
  }
}

}  // namespace halfback
