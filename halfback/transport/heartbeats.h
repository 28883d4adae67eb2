// The last heartbeat of each process of a run, which shows that it is alive and what it is doing.
//
// A heartbeat is an increasing number and a position, as in "7 rank 2: position 3, 1RECV_F3".
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace halfback {

inline constexpr const char* kFirstHeartbeat = "0 joining";
inline constexpr const char* kLastHeartbeat = "left";

class Heartbeats {
 public:
  using Seconds = std::chrono::duration<double>;

  explicit Heartbeats(std::vector<std::string> names);

  // Takes the heartbeat that a process has last written, and the time since the last call. A
  // process is silent for as long as the text does not change.
  void hear(std::size_t process, const std::string& text, Seconds passed);

  bool has_left(std::size_t process) const { return last_[process].text == kLastHeartbeat; }

  // Returns a report of the first process that has been silent for longer than the timeout and has
  // not left.
  std::optional<std::string> report_of_silence(Seconds timeout) const;

  // Returns the text, then a line for each process with its position at its last heartbeat.
  std::string with_positions(std::string text) const;

 private:
  struct Heartbeat {
    std::string text = kFirstHeartbeat;
    Seconds silence{0};

    std::string position() const { return text.substr(text.find(' ') + 1); }
  };

  std::vector<std::string> names_;
  std::vector<Heartbeat> last_;
};

}  // namespace halfback
