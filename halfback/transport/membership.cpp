#include "halfback/transport/monitor.h"

#include "halfback/base/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <thread>
#include <unistd.h>
#include <utility>

namespace halfback {

namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr Seconds kInterval{0.5};
constexpr Seconds kLongSilence = 4 * kInterval;
constexpr Seconds kGrace{2.0};                 // for one word with the store
constexpr const char* kJoining = "0 joining";  // the first sign
constexpr const char* kLeft = "left";          // the last

// Time in which this process ran. One that was itself stopped, or a whole run that was, would else
// take its own pause for the silence of others.
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

// The last sign of life of a process: a number that grows, and where it is.
struct Sign {
  std::string text;
  Seconds silence{0};

  bool has_left() const { return text == kLeft; }
  std::string position() const { return text.substr(text.find(' ') + 1); }
};

std::string sign_key(const std::string& prefix, int process) {
  return fmt::format("{}sign/{}", prefix, process);
}

std::string heard_key(const std::string& prefix, int process) {
  return fmt::format("{}heard/{}", prefix, process);
}

// Ends the process, whatever its other threads do, unless it ends first.
void end_soon(const std::string& failure, Seconds grace) {
  std::thread([failure, grace] {
    std::this_thread::sleep_for(grace);
    std::fprintf(stderr, "error: %s\n", failure.c_str());
    ::_exit(1);
  }).detach();
}

}  // namespace

struct Monitor::State {
  State(std::unique_ptr<StoreClient> client, MonitorOptions monitor_options)
      : store(std::move(client)), options(std::move(monitor_options)) {
    for (std::size_t i = 0; i < options.names.size(); ++i) {
      sign_keys.push_back(sign_key(options.key_prefix, static_cast<int>(i)));
    }
    signs.assign(sign_keys.size(), {.text = kJoining});
  }

  std::size_t index_of_self() const { return static_cast<std::size_t>(options.process); }

  // Of the thread that talks to the store.
  void talk();
  void talk_once(Seconds passed);
  void say_alive();
  void hear_signs(Seconds passed);
  void say_last();

  // Of the thread that watches.
  void watch();

  void know_own(std::string sign);
  void learn(std::string text, bool is_own);
  std::string with_positions(const std::string& text) const;  // with the mutex held

  const std::unique_ptr<StoreClient> store;  // of talk() alone
  const MonitorOptions options;
  std::vector<std::string> sign_keys;
  std::uint64_t num_signs = 0;
  std::thread talker;
  std::thread watcher;

  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Sign> signs;             // by process
  std::optional<std::string> report;   // what this process has to tell
  std::optional<std::string> failure;  // the first of all
  bool is_own = false;                 // the failure
  std::uint64_t num_rounds = 0;        // of talk()
  bool is_leaving = false;
  bool is_over = false;
  bool has_news = false;  // a sign is due before its time
  bool has_talked_last = false;
  std::mutex call_mutex;  // taken before the other; held while the callback runs
  std::function<void(const std::string&)> callback;
  std::mutex position_mutex;  // held while position() runs
  std::function<std::string()> position;
};

void Monitor::State::learn(std::string text, bool own) {
  {
    const std::lock_guard lock(mutex);
    if (failure) {
      return;
    }
    failure = std::move(text);
    is_own = own;
  }
  changed.notify_all();
}

std::string Monitor::State::with_positions(const std::string& text) const {
  std::string all = text;
  for (std::size_t i = 0; i < signs.size(); ++i) {
    all += fmt::format("\n  {}: {}", options.names[i], signs[i].position());
    if (signs[i].silence > kLongSilence) {
      all += fmt::format("; no sign for {:.0f} s", signs[i].silence.count());
    }
  }
  return all;
}

void Monitor::State::know_own(std::string sign) {
  const std::lock_guard lock(mutex);
  signs[index_of_self()].text = std::move(sign);
}

void Monitor::State::say_alive() {
  std::string text = fmt::format("{} ", ++num_signs);
  {
    const std::lock_guard lock(position_mutex);
    text += position ? position() : "it is starting";
  }
  know_own(text);
  store->set(sign_keys[index_of_self()], text);
}

void Monitor::State::hear_signs(Seconds passed) {
  const std::vector<std::string> texts = store->get(sign_keys);
  const std::lock_guard lock(mutex);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (i == index_of_self()) {
      continue;
    }
    Sign& sign = signs[i];
    sign.silence = sign.text == texts[i] ? sign.silence + passed : Seconds(0);
    sign.text = texts[i];
    if (!sign.has_left() && sign.silence > options.timeout && !is_leaving && !report) {
      report = fmt::format("{} gives no sign for {:g} s; last heard: {}", options.names[i],
                           options.timeout.count(), sign.position());
    }
  }
}

void Monitor::State::talk_once(Seconds passed) {
  const std::string failure_key = options.key_prefix + "failure";
  if (const auto first = store->find(failure_key)) {
    return learn(*first, false);
  }
  say_alive();
  hear_signs(passed);
  std::unique_lock lock(mutex);
  if (!report || failure) {
    return;
  }
  const std::string own = with_positions(*report);
  lock.unlock();
  const std::string first = store->set_first(failure_key, own);
  learn(first, first == own);
}

// Tells whoever serves the store that it is needed no more.
void Monitor::State::say_last() {
  std::unique_lock lock(mutex);
  const bool has_failed = failure.has_value();
  const bool leaves = is_leaving && !has_failed;
  lock.unlock();
  try {
    if (has_failed) {
      store->set(heard_key(options.key_prefix, options.process), "");
    } else if (leaves) {
      store->set(sign_keys[index_of_self()], kLeft);
    }
    store->find("");  // an answer tells that the last word is there
  } catch (const TransportError&) {
    // It is not served any more.
  }
}

void Monitor::State::talk() {
  RunningTime time;
  bool may_go_on = true;
  while (may_go_on) {
    try {
      talk_once(time.since_last());
    } catch (const TransportError& error) {
      // Whatever this process has to report came after that, and most likely of it.
      std::unique_lock lock(mutex);
      const std::string text =
          with_positions(fmt::format("{} is gone: {}", options.store_owner, error.what()));
      lock.unlock();
      learn(text, true);
    }
    std::unique_lock lock(mutex);
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

void Monitor::State::watch() {
  RunningTime time;
  std::uint64_t last_round = 0;
  Seconds silence{0};
  std::unique_lock lock(mutex);
  while (!failure && !is_over) {
    changed.wait_for(lock, kInterval, [&] { return is_over || failure; });
    const Seconds passed = time.since_last();
    silence = last_round == num_rounds ? silence + passed : Seconds(0);
    last_round = num_rounds;
    if (silence > options.timeout && !failure) {
      failure = with_positions(fmt::format("{} gives no sign for {:g} s: the store does not answer",
                                           options.store_owner, options.timeout.count()));
      is_own = true;
      report = failure;
      changed.notify_all();
    }
  }
  if (!failure) {
    return;
  }
  if (options.backstop > Seconds(0)) {
    end_soon(*failure, options.backstop);
  }
  changed.wait(lock, [&] { return is_over || callback; });
  const std::string text = *failure;
  lock.unlock();
  const std::lock_guard call_lock(call_mutex);
  if (callback) {
    callback(text);
  }
}

void Monitor::announce(StoreClient& store, const std::string& key_prefix, int process) {
  store.set(sign_key(key_prefix, process), kJoining);
}

std::vector<std::string> Monitor::heard_keys(const std::string& key_prefix, int num_processes) {
  std::vector<std::string> keys;
  for (int i = 0; i < num_processes; ++i) {
    keys.push_back(heard_key(key_prefix, i));
  }
  return keys;
}

Monitor::Monitor(std::unique_ptr<StoreClient> store, MonitorOptions options)
    : state_(std::make_shared<State>(std::move(store), std::move(options))) {
  state_->talker = std::thread([state = state_] { state->talk(); });
  state_->watcher = std::thread([state = state_] { state->watch(); });
}

Monitor::~Monitor() { end(); }

void Monitor::end() {
  on_failure(nullptr);
  on_position(nullptr);
  if (!state_->watcher.joinable()) {
    return;
  }
  std::unique_lock lock(state_->mutex);
  state_->is_over = true;
  state_->changed.notify_all();
  const bool has_ended =
      state_->changed.wait_for(lock, kGrace, [&] { return state_->has_talked_last; });
  lock.unlock();
  state_->watcher.join();
  if (has_ended) {
    state_->talker.join();
  } else {
    state_->talker.detach();
  }
}

std::string Monitor::fail(const std::string& text) {
  std::unique_lock lock(state_->mutex);
  if (state_->is_over) {
    return state_->failure.value_or(text);
  }
  if (!state_->report) {
    state_->report = text;
  }
  state_->changed.notify_all();
  if (!state_->changed.wait_for(lock, kGrace, [&] { return state_->failure.has_value(); })) {
    state_->failure = state_->with_positions(text);
    state_->is_own = true;
    state_->changed.notify_all();
  }
  return *state_->failure;
}

std::optional<std::string> Monitor::failure() const {
  const std::lock_guard lock(state_->mutex);
  return state_->failure;
}

bool Monitor::is_own_failure() const {
  const std::lock_guard lock(state_->mutex);
  return state_->is_own;
}

void Monitor::on_failure(std::function<void(const std::string&)> callback) {
  {
    const std::lock_guard call_lock(state_->call_mutex);
    const std::lock_guard lock(state_->mutex);
    state_->callback = std::move(callback);
  }
  state_->changed.notify_all();
}

void Monitor::on_position(std::function<std::string()> callback) {
  if (callback) {
    state_->know_own("0 " + callback());
  }
  {
    const std::lock_guard lock(state_->position_mutex);
    state_->position = std::move(callback);
  }
  {
    const std::lock_guard lock(state_->mutex);
    state_->has_news = true;
  }
  state_->changed.notify_all();
}

void Monitor::leave() {
  const std::lock_guard lock(state_->mutex);
  state_->is_leaving = true;
}

bool Monitor::has_left(int process) const {
  const std::lock_guard lock(state_->mutex);
  return state_->is_leaving || state_->signs[static_cast<std::size_t>(process)].has_left();
}

}  // namespace halfback
