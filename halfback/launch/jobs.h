// Programs side by side: each prints one line, its result.
#pragma once

#include "halfback/launch/signal_queue.h"
#include "halfback/launch/subprocess.h"

#include <functional>
#include <string>
#include <vector>

namespace halfback {

struct Job {
  int number = 0;
  Subprocess::Command command;
};

struct JobsRequest {
  std::vector<Job> jobs;  // in this order
  int num_at_once = 1;
  // Called when a job has ended well, with what it has printed.
  std::function<void(int number, const std::string& output)> on_result;
};

struct JobsOutcome {
  int signal = 0;  // that ended the work early, or 0
  // What the first job that failed has written to its standard error, without "error: ", and its
  // exit code; 0 if none has failed.
  int exit_code = 0;
  int failed_job = 0;
  std::string error;
};

// Runs all jobs. The queue must hold SIGCHLD, SIGINT and SIGTERM. The latter two kill the running
// ones, and so does the first one that fails. No other job begins after either.
JobsOutcome run_jobs(const JobsRequest& request, SignalQueue& signals);

}  // namespace halfback
