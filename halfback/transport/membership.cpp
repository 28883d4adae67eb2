#include "halfback/transport/membership.h"

#include "halfback/base/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <utility>

namespace halfback {

namespace {

using Clock = std::chrono::steady_clock;
using Seconds = Heartbeats::Seconds;

constexpr Seconds kInterval{0.5};
constexpr Seconds kGrace{2.0};  // for one exchange with the store

// Time in which this process ran. Otherwise, a process that was suspended (or whose whole run was)
// would take its own pause for the silence of others.
class RunningTime {
 public:
  Seconds since_last() {
    const auto now = Clock::now();
    const Seconds passed = std::min<Seconds>(now - last_, 2 * kInterval);
    last_ = now;
    return passed;
  }

 private:
  Clock::time_point last_ = Clock::now();
};

}  // namespace

struct Membership::State {
  State(std::unique_ptr<StoreClient> client, MembershipOptions membership_options)
      : store(std::move(client)),
        options(std::move(membership_options)),
        heartbeats(options.names) {}

  // Runs on the thread that talks to the store.
  void talk() {
    RunningTime time;
    bool may_go_on = true;
    while (may_go_on) {
      std::optional<std::string> loss;
      try {
        talk_once(time.since_last());
      } catch (const TransportError& error) {
        loss = fmt::format("{} is gone: {}", options.store_owner, error.what());
      }
      std::unique_lock lock(mutex);
      if (loss) {
        // Whatever this process has to report came later, and most likely because of that.
        learn(heartbeats.with_positions(*loss), true);
      }
      ++num_rounds;
      changed.notify_all();
      changed.wait_for(lock, kInterval, [&] { return is_over || failure || report || has_news; });
      has_news = false;
      may_go_on = !is_over && !failure;
    }
    say_last();
    const std::lock_guard lock(mutex);
    has_talked_last = true;
    changed.notify_all();
  }

  void talk_once(Seconds passed) {
    std::optional<std::string> first = store->find(options.failure_key);
    std::optional<std::string> own;
    if (!first) {
      beat();
      hear(passed);
      std::unique_lock lock(mutex);
      if (!report || failure) {
        return;
      }
      own = heartbeats.with_positions(*report);
      lock.unlock();
      first = store->set_first(options.failure_key, *own);
    }
    const std::lock_guard lock(mutex);
    learn(*first, first == own);
  }

  void beat() {
    std::string text = fmt::format("{} ", ++num_beats);
    {
      const std::lock_guard lock(position_mutex);
      text += position ? position() : "it is starting";
    }
    {
      const std::lock_guard lock(mutex);
      heartbeats.hear(options.process, text, Seconds(0));
    }
    store->set(options.heartbeat_keys[options.process], text);
  }

  void hear(Seconds passed) {
    const std::vector<std::string> texts = store->get(options.heartbeat_keys);
    const std::lock_guard lock(mutex);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      if (i != options.process) {
        heartbeats.hear(i, texts[i], passed);
      }
    }
    if (!is_leaving && !report) {
      report = heartbeats.report_of_silence(options.timeout);
    }
  }

  // Reports to the store's server that this process no longer needs it.
  void say_last() {
    std::unique_lock lock(mutex);
    const bool has_failed = failure.has_value();
    const bool leaves = is_leaving && !has_failed;
    lock.unlock();
    try {
      if (has_failed) {
        store->set(options.heard_key, "");
      } else if (leaves) {
        store->set(options.heartbeat_keys[options.process], kLastHeartbeat);
      }
      store->find("");  // an answer means that the last word is there
    } catch (const TransportError&) {
      // Nobody serves it any more.
    }
  }

  // Runs on the thread that watches.
  void watch(const Policy& policy) {
    RunningTime time;
    std::uint64_t last_round = 0;
    Seconds silence{0};
    std::unique_lock lock(mutex);
    while (!failure && !is_over) {
      changed.wait_for(lock, kInterval, [&] { return is_over || failure; });
      const Seconds passed = time.since_last();
      silence = last_round == num_rounds ? silence + passed : Seconds(0);
      last_round = num_rounds;
      if (silence > options.timeout) {
        learn(heartbeats.with_positions(
                  fmt::format("{} has sent no heartbeat for {:g} s: the store does not answer",
                              options.store_owner, options.timeout.count())),
              true);
      }
    }
    if (failure) {
      const std::string text = *failure;
      lock.unlock();
      policy(text);
    }
  }

  // Sets the failure unless one is known. With the mutex held.
  void learn(std::string text, bool own) {
    if (!failure) {
      failure = std::move(text);
      is_own = own;
      changed.notify_all();
    }
  }

  const std::unique_ptr<StoreClient> store;  // of talk() alone
  const MembershipOptions options;
  std::uint64_t num_beats = 0;

  std::mutex mutex;
  std::condition_variable changed;
  Heartbeats heartbeats;
  std::optional<std::string> report;   // what this process has to report
  std::optional<std::string> failure;  // the first of all processes
  bool is_own = false;                 // whether this process reported it
  std::uint64_t num_rounds = 0;        // of talk()
  bool is_leaving = false;
  bool is_over = false;
  bool has_news = false;  // a heartbeat is due before its time
  bool has_talked_last = false;
  std::mutex position_mutex;  // held while position() runs
  std::function<std::string()> position;
};

Membership::Membership(std::unique_ptr<StoreClient> store, MembershipOptions options, Policy policy)
    : state_(std::make_shared<State>(std::move(store), std::move(options))) {
  talker_ = std::thread([state = state_] { state->talk(); });
  watcher_ = std::thread([state = state_, policy = std::move(policy)] { state->watch(policy); });
}

Membership::~Membership() { end(); }

void Membership::end() {
  on_position(nullptr);
  if (!watcher_.joinable()) {
    return;
  }
  std::unique_lock lock(state_->mutex);
  state_->is_over = true;
  state_->changed.notify_all();
  const bool has_ended =
      state_->changed.wait_for(lock, kGrace, [&] { return state_->has_talked_last; });
  lock.unlock();
  watcher_.join();
  if (has_ended) {
    talker_.join();
  } else {
    // The store does not answer. The thread keeps the state alive.
    talker_.detach();
  }
}

std::string Membership::report(const std::string& text) {
  std::unique_lock lock(state_->mutex);
  if (state_->is_over) {
    return state_->failure.value_or(text);
  }
  if (!state_->report) {
    state_->report = text;
  }
  state_->changed.notify_all();
  if (!state_->changed.wait_for(lock, kGrace, [&] { return state_->failure.has_value(); })) {
    // The store does not answer, so this process's own report counts.
    state_->learn(state_->heartbeats.with_positions(text), true);
  }
  return *state_->failure;
}

std::optional<std::string> Membership::failure() const {
  const std::lock_guard lock(state_->mutex);
  return state_->failure;
}

bool Membership::is_own_failure() const {
  const std::lock_guard lock(state_->mutex);
  return state_->is_own;
}

void Membership::on_position(std::function<std::string()> callback) {
  const std::optional<std::string> now = callback ? std::optional("0 " + callback()) : std::nullopt;
  {
    const std::lock_guard lock(state_->position_mutex);
    state_->position = std::move(callback);
  }
  const std::lock_guard lock(state_->mutex);
  if (now) {
    state_->heartbeats.hear(state_->options.process, *now, Seconds(0));
  }
  state_->has_news = true;
  state_->changed.notify_all();
}

void Membership::leave() {
  const std::lock_guard lock(state_->mutex);
  state_->is_leaving = true;
}

bool Membership::has_left(int process) const {
  const std::lock_guard lock(state_->mutex);
  return state_->is_leaving || state_->heartbeats.has_left(static_cast<std::size_t>(process));
}

}  // namespace halfback
