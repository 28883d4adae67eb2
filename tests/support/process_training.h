// Tiny training runs over several real processes, and what has to hold of their ends.
#pragma once

#include "halfback/checkpoint/checkpoint_files.h"
#include "halfback/checkpoint/safetensors.h"
#include "tests/support/errors.h"
#include "tests/support/marked_processes.h"
#include "tests/support/process_run.h"
#include "tests/support/training_command.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace halfback::testing {

class ProcessTrainingTest : public TrainingCommandTest {
 protected:
  static std::vector<std::string> words(const std::string& text) {
    std::istringstream stream(text);
    return {std::istream_iterator<std::string>(stream), {}};
  }

  // "halfback ARGUMENTS".
  static std::vector<std::string> command(const std::string& arguments) {
    std::vector<std::string> all = words(arguments);
    all.insert(all.begin(), HALFBACK_BINARY);
    return all;
  }

  // Starts "halfback train" over 2 processes of 2 ranks, with so many steps that it does not end by
  // itself.
  std::unique_ptr<RunningProcess> start(const std::string& arguments) const {
    return std::make_unique<RunningProcess>(
        command(train("--processes 2 --ranks 4 --layers 4 --steps 10000000 " + arguments)),
        std::vector<std::string>{mark_.text()});
  }

  // Sends a signal to a process of the run at a moment that nothing else knows of.
  void disturb(int process, int signal, std::mt19937& random) const {
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 300));
    const pid_t id = mark_.process(process);
    ASSERT_GT(id, 0);
    ::kill(id, signal);
  }

  // The launcher must have ended with 1, after one error, and nothing is left.
  void expect_one_failure(RunningProcess& launcher, const std::vector<std::string>& parts) const {
    EXPECT_EQ(launcher.wait(), 1) << launcher.text();
    EXPECT_TRUE(mark_.processes().empty()) << "left behind: " << mark_.processes().size();
    const std::string& text = launcher.text();
    const std::size_t first = text.find("error: ");
    ASSERT_NE(first, std::string::npos) << text;
    EXPECT_EQ(text.find("error: ", first + 1), std::string::npos) << text;
    for (const std::string& part : parts) {
      EXPECT_TRUE(contains(text.substr(first), part)) << part << "\n" << text.substr(first);
    }
  }

  // The bytes of all tensors of a checkpoint, those of the optimizer too, in how many files ever.
  std::map<std::string, std::string> tensors(const std::string& checkpoint) const {
    std::map<std::string, std::string> bytes;
    for (const char* basename : {kModelTensors, kStateTensors}) {
      const SafetensorsDirectory files(directory_ / checkpoint, basename);
      for (const std::string& name : files.names()) {
        const at::Tensor tensor = files.get(name);
        bytes[name] = {static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()};
      }
    }
    return bytes;
  }

  // Nothing but these lies in the test's directory.
  void expect_files(const std::set<std::string>& names) const {
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
      EXPECT_TRUE(names.count(entry.path().filename()) > 0) << entry.path() << " is left";
    }
  }

  ProcessMark mark_;
};

}  // namespace halfback::testing
