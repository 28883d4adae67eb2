// The last heartbeat of each process of a run: that it lives, and what it is doing.
//
// A heartbeat is a number that grows and a position, as "7 rank 2: position 3, 1RECV_F3".
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

  // Takes the text at the place where a process writes its heartbeats, and the time since the last
  // look. A process is silent for as long as the text stays the same.
  void hear(std::size_t process, const std::string& text, Seconds passed);

  bool has_left(std::size_t process) const { return last_[process].text == kLastHeartbeat; }

  // Returns a report of the first process that is silent for longer than the timeout and has not
  // left.
  std::optional<std::string> report_of_silence(Seconds timeout) const;

  // Returns the text and, on lines below it, where all processes were at their last heartbeats.
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
