// The processes of a run, as code that writes files together sees them: which one this is, and a
// way to exchange a few lines of text.
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

  // Returns the texts that all processes gave, by index. In messages, `what` says what is waited
  // for; it may be used again. Throws TransportError if a process is gone or the deadline has
  // passed. The deadline must allow for the time in which others write their part of a checkpoint.
  virtual std::vector<std::string> gather(const std::string& what, const std::string& text) = 0;

  // Returns the prefix of an error that names its process.
  virtual std::string prefix(int process) const;

 private:
  int index_;
  int count_;
};

using PeersPointer = std::shared_ptr<Peers>;

// Returns the peers of a process that has none.
PeersPointer alone();

// Does one part of some work in each process, and returns the results of all parts, by index. If a
// part throws, all processes throw the error of the first such part, ConfigError or else FileError,
// prefixed with its process unless all have the same.
std::vector<nlohmann::json> together(Peers& peers,
                                     const std::string& what,
                                     const std::function<nlohmann::json()>& part);

}  // namespace halfback
