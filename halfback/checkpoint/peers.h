// The processes of a run, as what they write together sees them: who this one is, and a way to
// exchange a few lines of text.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace halfback {

// Calls come from one thread at a time, in the same order in all processes.
class Peers {
 public:
  Peers(int index, int count) : index_(index), count_(count) {}
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;
  virtual ~Peers() = default;

  int index() const { return index_; }
  int count() const { return count_; }
  bool is_first() const { return index_ == 0; }

  // Returns the texts that all processes gave, by index. `what` says in messages what is waited
  // for; it may come again. Throws TransportError when a process is gone or the deadline has
  // passed, which must allow for the time in which others write their part of a checkpoint.
  virtual std::vector<std::string> gather(const std::string& what, const std::string& text) = 0;

  // Returns the text in front of an error that names its process.
  virtual std::string prefix(int process) const;

 private:
  int index_;
  int count_;
};

using PeersPointer = std::shared_ptr<Peers>;

// Returns the peers of a process that has none.
PeersPointer alone();

// Does one part of some work in each process, and returns what each part gave, by index. When a
// part throws, all processes throw the error of the first such, ConfigError or else FileError, with
// the process in front unless it is that of all.
std::vector<nlohmann::json> together(Peers& peers,
                                     const std::string& what,
                                     const std::function<nlohmann::json()>& part);

}  // namespace halfback
