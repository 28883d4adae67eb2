// Finds the processes that a run has started, by a variable in their environment that no other run
// has.
#pragma once

#include "tests/support/temporary_directory.h"

#include <charconv>
#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <sys/types.h>
#include <system_error>
#include <thread>
#include <unistd.h>

namespace halfback::testing {

class ProcessMark {
 public:
  ProcessMark() {
    static int number = 0;
    text_ =
        "HALFBACK_TEST_MARK=" + std::to_string(::getpid()) + "." + std::to_string(++number) + ".";
  }

  // NAME=VALUE, for the environment of the first process; what that starts inherits it.
  const std::string& text() const { return text_; }

  // Returns those that run or are stopped, by id, with their environments.
  std::map<pid_t, std::string> processes() const {
    std::map<pid_t, std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const std::string name = entry.path().filename();
      pid_t id = 0;
      if (std::from_chars(name.data(), name.data() + name.size(), id).ec != std::errc()) {
        continue;
      }
      const std::string environment = slurp(entry.path() / "environ");  // none of one that ended
      if (environment.find(text_) != std::string::npos) {
        found[id] = environment;
      }
    }
    return found;
  }

  // Returns the process of that number of a run over several, or 0.
  pid_t process(int number) const {
    for (const auto& [id, environment] : processes()) {
      if (environment.find("HALFBACK_PROCESS=" + std::to_string(number) + '\0') !=
          std::string::npos) {
        return id;
      }
    }
    return 0;
  }

  // Waits until there is none; false when there still is after a generous time.
  bool wait_until_none() const {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!processes().empty()) {
      if (std::chrono::steady_clock::now() > deadline) {
        return false;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return true;
  }

 private:
  std::string text_;
};

}  // namespace halfback::testing
