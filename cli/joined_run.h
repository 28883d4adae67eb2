// A run over several processes, as one of them sees its command line.
#pragma once

#include "halfback/train/training.h"
#include "halfback/transport/refusal.h"

#include <CLI/CLI.hpp>

#include <functional>
#include <memory>

namespace halfback::cli {

// Joins the other processes of the run and compares what all must have in common: the program, the
// options of the verb and the schedule. Returns null if this process is the only one. Throws
// RefusedError if they differ, TransportError if the others do not come.
std::shared_ptr<ProcessRun> join_run(const TrainingConfig& config, const CLI::App& verb);

// Does the work before the first step. If it fails, all processes of the run throw the same
// RefusedError.
void prepare(ProcessRun* run, const std::function<void()>& work);

// Prints what this process refuses, unless another one does, and returns the exit code.
int print_refusal(const RefusedError& error);

// Returns how many ranks share this machine's cores, as far as the launcher says.
int ranks_on_this_host(int num_ranks);

}  // namespace halfback::cli
