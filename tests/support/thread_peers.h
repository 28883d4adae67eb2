// Processes that are threads of this one, for what several write together.
#pragma once

#include "halfback/base/error.h"
#include "halfback/checkpoint/peers.h"

#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace halfback::testing {

// Where the peers of one group meet.
class Meeting {
 public:
  explicit Meeting(int count) : texts_(static_cast<std::size_t>(count)) {}

  int count() const { return static_cast<int>(texts_.size()); }

  std::vector<std::string> gather(int index, const std::string& what, const std::string& text) {
    std::unique_lock lock(mutex_);
    texts_[static_cast<std::size_t>(index)] = text;
    const int round = round_;
    if (++num_here_ == count()) {
      gathered_ = texts_;
      num_here_ = 0;
      ++round_;
      changed_.notify_all();
    } else if (!changed_.wait_for(lock, std::chrono::seconds(30),
                                  [&] { return round_ != round || is_closed_; }) ||
               round_ == round) {
      throw TransportError("a process is gone; waited for " + what);
    }
    return gathered_;
  }

  // Ends all waits: a process is gone.
  void close() {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> texts_;
  std::vector<std::string> gathered_;  // stays until all of the next round are here
  int num_here_ = 0;
  int round_ = 0;
  bool is_closed_ = false;
};

class ThreadPeers final : public Peers {
 public:
  // `on_gather` is called at the begin of each exchange.
  using OnGather = std::function<void(const std::string& what)>;
  ThreadPeers(std::shared_ptr<Meeting> meeting, int index, OnGather on_gather = {})
      : Peers(index, meeting->count()),
        meeting_(std::move(meeting)),
        on_gather_(std::move(on_gather)) {}

  std::vector<std::string> gather(const std::string& what, const std::string& text) override {
    if (on_gather_) {
      on_gather_(what);
    }
    return meeting_->gather(index(), what, text);
  }

 private:
  std::shared_ptr<Meeting> meeting_;
  OnGather on_gather_;
};

// Runs `process` on as many threads, and returns what each threw; "" for nothing.
inline std::vector<std::string> errors_together(
    int count, const std::function<void(const PeersPointer&)>& process) {
  const auto meeting = std::make_shared<Meeting>(count);
  std::vector<std::string> errors(static_cast<std::size_t>(count));
  std::vector<std::thread> threads;
  for (int index = 0; index < count; ++index) {
    threads.emplace_back([&, index] {
      try {
        process(std::make_shared<ThreadPeers>(meeting, index));
      } catch (const std::exception& error) {
        errors[static_cast<std::size_t>(index)] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  return errors;
}

}  // namespace halfback::testing
