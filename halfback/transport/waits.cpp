#include "halfback/transport/waits.h"

#include "halfback/base/error.h"
#include "halfback/transport/transport.h"

#include <algorithm>
#include <exception>

namespace halfback {

Waits::Waits() : thread_([this] { end_late_ones(); }) {}

Waits::~Waits() {
  {
    const std::lock_guard lock(mutex_);
    is_over_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

bool Waits::wait(Transfer& transfer, Clock::time_point deadline) {
  {
    const std::lock_guard lock(mutex_);
    if (is_stopped_) {
      throw StoppedError();
    }
    waiting_.emplace(&transfer, deadline);
    if (deadline < next_look_) {
      changed_.notify_all();
    }
  }
  bool has_ended = false;
  std::exception_ptr error;
  try {
    has_ended = transfer.wait();
  } catch (const TransportError&) {
    error = std::current_exception();
  }
  const std::lock_guard lock(mutex_);
  waiting_.erase(&transfer);
  if (has_ended) {
    return true;
  }
  if (is_stopped_) {
    throw StoppedError();
  }
  if (error) {
    std::rethrow_exception(error);
  }
  return false;
}

void Waits::stop() {
  const std::lock_guard lock(mutex_);
  is_stopped_ = true;
  for (const auto& [transfer, deadline] : waiting_) {
    transfer->abort();
  }
}

void Waits::end_late_ones() {
  std::unique_lock lock(mutex_);
  while (!is_over_) {
    const auto now = Clock::now();
    next_look_ = kNoDeadline;
    for (auto& [transfer, deadline] : waiting_) {
      if (deadline <= now) {
        transfer->abort();
        // Aborted once; wait() removes it.
        deadline = kNoDeadline;
      }
      next_look_ = std::min(next_look_, deadline);
    }
    if (next_look_ == kNoDeadline) {
      changed_.wait(lock);
    } else {
      changed_.wait_until(lock, next_look_);
    }
  }
}

}  // namespace halfback
