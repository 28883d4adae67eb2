#include "halfback/transport/stop_together.h"

#include <cstdio>
#include <thread>
#include <unistd.h>
#include <utility>

namespace halfback {

void StopTogether::stop(const std::string& failure) {
  if (backstop_.count() > 0) {
    // Ends the process, whatever its other threads do.
    std::thread([failure, backstop = backstop_] {
      std::this_thread::sleep_for(backstop);
      std::fprintf(stderr, "error: %s\n", failure.c_str());
      ::_exit(1);
    }).detach();
  }
  const std::lock_guard lock(mutex_);
  failure_ = failure;
  if (callback_) {
    callback_(failure);
  }
}

void StopTogether::on_failure(std::function<void(const std::string&)> callback) {
  const std::lock_guard lock(mutex_);
  callback_ = std::move(callback);
  if (callback_ && failure_) {
    callback_(*failure_);
  }
}

}  // namespace halfback
