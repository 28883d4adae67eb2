// What one process refuses, several refuse alike, whoever has started them: the same line, once,
// and the same exit code. Nobody is ended by a signal, and nothing is left.
#include "tests/support/bad_inputs.h"

#include "tests/support/errors.h"
#include "tests/support/marked_processes.h"
#include "tests/support/process_run.h"

#include <gtest/gtest.h>

#include <functional>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

namespace halfback::testing {
namespace {

// The variables that a launcher gives process `index` of two.
using Variables = std::function<std::vector<std::string>(const std::string& index)>;

struct Launcher {
  const char* name;
  Variables variables;
};

const std::vector<Launcher> kLaunchers = {
    {"by hand",
     [](const std::string& index) {
       return std::vector<std::string>{"RANK=" + index, "WORLD_SIZE=2", "MASTER_ADDR=localhost"};
     }},
    {"Slurm",
     [](const std::string& index) {
       return std::vector<std::string>{"SLURM_PROCID=" + index,  "SLURM_NTASKS=8",
                                       "SLURM_STEP_NUM_TASKS=2", "SLURM_STEP_ID=0",
                                       "SLURM_STEP_NUM_NODES=1", "SLURM_JOB_ID=7",
                                       "SLURM_JOB_NUM_NODES=2",  "SLURM_JOB_NODELIST=localhost"};
     }},
    {"Open MPI",
     [](const std::string& index) {
       return std::vector<std::string>{"OMPI_COMM_WORLD_RANK=" + index, "OMPI_COMM_WORLD_SIZE=2",
                                       "OMPI_COMM_WORLD_LOCAL_SIZE=2"};
     }},
    {"MPICH",
     [](const std::string& index) {
       return std::vector<std::string>{"PMI_RANK=" + index, "PMI_SIZE=2", "MPI_LOCALNRANKS=2"};
     }},
};

// A slow machine may say what it waits for.
std::string without_notes(const std::string& text) {
  std::istringstream lines(text);
  std::string rest;
  for (std::string line; std::getline(lines, line);) {
    rest += line.starts_with("waiting for ") ? "" : line + "\n";
  }
  return rest;
}

class BadInputsTest : public BadInputTest {
 protected:
  static std::vector<std::string> command(const std::string& arguments) {
    std::istringstream words(arguments);
    std::vector<std::string> all = {HALFBACK_BINARY};
    all.insert(all.end(), std::istream_iterator<std::string>(words), {});
    return all;
  }

  // Checks the program in a copy of this process, which starts faster; returns its line.
  std::string line_of_one(const BadInput& bad) {
    const CommandResult run = run_halfback(train(bad.arguments) + " 2>&1");
    EXPECT_EQ(run.exit_code, bad.exit_code) << bad.arguments;
    expect_line(run.output, bad);
    return run.output;
  }

  static void expect_line(const std::string& line, const BadInput& bad) {
    EXPECT_TRUE(line.starts_with("error: ") && line.find('\n') == line.size() - 1) << line;
    EXPECT_TRUE(contains(line, bad.text)) << line;
  }

  // Checks the binary; returns its line.
  std::string line_of(const std::string& arguments, const BadInput& bad) {
    RunningProcess run(command(arguments), {mark_.text()});
    EXPECT_EQ(run.wait(), bad.exit_code) << arguments;
    std::string line = without_notes(run.text());
    expect_line(line, bad);
    EXPECT_TRUE(mark_.processes().empty()) << arguments;
    return line;
  }

  // Starts two processes as a launcher does, and returns what they say between them.
  std::string lines_of_two(const Launcher& launcher,
                           const std::string& first,
                           const std::string& second,
                           int exit_code) {
    const std::string port = "MASTER_PORT=" + std::to_string(StoreServer("127.0.0.1", 0).port());
    std::vector<std::unique_ptr<RunningProcess>> processes;
    for (const std::string& arguments : {first, second}) {
      std::vector<std::string> variables = launcher.variables(std::to_string(processes.size()));
      variables.insert(variables.end(), {port, mark_.text()});
      processes.push_back(std::make_unique<RunningProcess>(command(arguments), variables));
    }
    std::string lines;
    for (const auto& process : processes) {
      EXPECT_EQ(process->wait(), exit_code) << launcher.name << ": " << process->text();
      lines += without_notes(process->text());
    }
    EXPECT_TRUE(mark_.processes().empty());
    return lines;
  }

  ProcessMark mark_;
};

TEST_F(BadInputsTest, OptionsAreRefusedBeforeProcessesMeet) {
  const std::vector<BadInput> all = bad_options();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::string line = line_of_one(all[i]);
    EXPECT_EQ(line_of(train(all[i].arguments + " --processes 2"), all[i]), line);
    if (i % 6 == 0) {
      EXPECT_EQ(line_of(train(all[i].arguments), all[i]), line);
      const Launcher& launcher = kLaunchers[i / 6 % kLaunchers.size()];
      const std::string command = train(all[i].arguments);
      EXPECT_EQ(lines_of_two(launcher, command, command, all[i].exit_code), line + line);
    }
  }
}

TEST_F(BadInputsTest, FilesAreRefusedByAllAndToldOnce) {
  make_files();
  const std::vector<BadInput> all = bad_files();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::string line = line_of_one(all[i]);
    EXPECT_EQ(line_of(train(all[i].arguments + " --processes 2"), all[i]), line);
    if (i % 6 == 0) {
      EXPECT_EQ(line_of(train(all[i].arguments), all[i]), line);
    }
    if (i % 3 == 0) {
      const Launcher& launcher = kLaunchers[i / 3 % kLaunchers.size()];
      const std::string command = train(all[i].arguments);
      EXPECT_EQ(lines_of_two(launcher, command, command, all[i].exit_code), line);
    }
  }
}

TEST_F(BadInputsTest, NothingIsStartedAgainForWhatWouldBeRefusedAgain) {
  make_files();
  for (const char* count : {"1", "2"}) {
    const std::string restarts = std::string(" --max-restarts 3 --processes ") + count;
    line_of(train("--checkpoint " + path("full") + restarts), {"", 1, "full: holds files"});
    line_of(train("--seed 2 --resume --checkpoint " + path("a") + restarts),
            {"", 2, "the run was with --seed 1"});
  }
}

TEST_F(BadInputsTest, WhatOneProcessRefusesIsToldOnce) {
  make_files();
  const std::string good = train("");
  const std::string missing = train("--data " + path("none.txt"));
  const std::string line = line_of_one({"--data " + path("none.txt"), 1, "none.txt: cannot open"});
  const Launcher& by_hand = kLaunchers.front();
  EXPECT_EQ(lines_of_two(by_hand, good, missing, 1), line);
  EXPECT_EQ(lines_of_two(by_hand, missing, good, 1), line);
  const std::string lines =
      lines_of_two(by_hand, train("--initial " + path("a")), train("--initial " + path("none")), 1);
  EXPECT_EQ(lines, line_of_one({"--initial " + path("none"), 1, "none/config.json: cannot open"}));
  EXPECT_TRUE(contains(lines_of_two(by_hand, good, train("--data " + path("other.txt")), 2),
                       "error: processes: the length of --data is not the same in all: "));
}

}  // namespace
}  // namespace halfback::testing
