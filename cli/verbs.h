// The verbs of the command line, one file each. To add one: its file, a declaration here, a call in
// main.cpp. A verb registers a subcommand whose callback does the work and throws Error.
#pragma once

#include <CLI/CLI.hpp>

namespace halfback::cli {

// Thrown by a callback that has already printed everything, to end with an exit code.
struct Exit {
  int code = 0;
};

void add_schedule_verb(CLI::App& app);
void add_verify_verb(CLI::App& app);
void add_simulate_verb(CLI::App& app);
void add_train_verb(CLI::App& app);
void add_compare_verb(CLI::App& app);
void add_profile_verb(CLI::App& app);
void add_generate_verb(CLI::App& app);
void add_study_verb(CLI::App& app);

}  // namespace halfback::cli
