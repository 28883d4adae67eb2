#include "halfback/launch/signal_queue.h"

#include "halfback/base/error.h"

#include <sys/signalfd.h>
#include <unistd.h>

namespace halfback {

SignalQueue::SignalQueue(std::initializer_list<int> signals) {
  sigset_t blocked;
  sigemptyset(&blocked);
  for (const int signal : signals) {
    sigaddset(&blocked, signal);
  }
  descriptor_ = ::signalfd(-1, &blocked, SFD_NONBLOCK | SFD_CLOEXEC);
  HALFBACK_CHECK(descriptor_ >= 0, "signals");
  pthread_sigmask(SIG_BLOCK, &blocked, &before_);
}

SignalQueue::~SignalQueue() {
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  ::close(descriptor_);
}

std::optional<int> SignalQueue::take() {
  signalfd_siginfo info{};
  if (::read(descriptor_, &info, sizeof(info)) != sizeof(info)) {
    return std::nullopt;
  }
  return static_cast<int>(info.ssi_signo);
}

}  // namespace halfback
