// A run over several processes, as one of them sees its command line.
#pragma once

#include "halfback/train/training.h"
#include "halfback/transport/refusal.h"

#include <CLI/CLI.hpp>

#include <functional>
#include <memory>

namespace halfback::cli {

// Joins the other processes of the run and compares with them what all must have in common: the
// program, the options of the verb and the schedule. Null where this process is the only one.
// Throws RefusedError for what differs, TransportError where they do not come.
std::shared_ptr<ProcessRun> join_run(const TrainingConfig& config, const CLI::App& verb);

// Does what comes before the first step. What is wrong with it is thrown as RefusedError, in all
// processes of the run alike.
void prepare(ProcessRun* run, const std::function<void()>& work);

// Prints what this process refuses, where no other one does, and returns the exit code.
int print_refusal(const RefusedError& error);

// Returns how many ranks share this machine's cores, as far as the launcher says.
int ranks_on_this_host(int num_ranks);

}  // namespace halfback::cli
