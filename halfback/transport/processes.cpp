#include "halfback/transport/processes.h"

#include "halfback/base/error.h"
#include "halfback/transport/membership.h"
#include "halfback/transport/refusal.h"
#include "halfback/transport/route_to.h"
#include "halfback/transport/store.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <net/if.h>
#include <thread>
#include <unistd.h>

namespace halfback {

namespace {

using Clock = std::chrono::steady_clock;

// Leaves others time to read or write first. A failure ends the wait at once.
constexpr std::chrono::hours kWorkOfOthers{1};

std::string here() {
  char host[256] = "?";
  ::gethostname(host, sizeof(host) - 1);
  return fmt::format("pid {} on {}", ::getpid(), host);
}

// In binary form, so that texts may hold any bytes.
std::string packed(const Processes::Entries& entries) {
  std::string text;
  nlohmann::json::to_cbor(entries, text);
  return text;
}

Processes::Entries unpacked(const std::string& text) {
  return nlohmann::json::from_cbor(text).get<Processes::Entries>();
}

// Handles an exception that nobody catches, such as one on a thread of Gloo's.
std::function<std::string(const std::string&)> report_to_all;

[[noreturn]] void fail_and_end() {
  std::string text = "a thread ended without an exception";
  try {
    if (std::current_exception()) {
      throw;
    }
  } catch (const std::exception& error) {
    text = fmt::format("a thread ended with: {}", error.what());
  } catch (...) {
    text = "a thread ended with an exception that is not one of ours";
  }
  text = report_to_all ? report_to_all(text) : text;
  std::fprintf(stderr, "error: %s\n", text.c_str());
  ::_exit(1);
}

// What processes send each other: a value, or the reason for a refusal.
constexpr char kValue = '=';
constexpr char kFailure = '1';
constexpr char kUsage = '2';

// Returns the value of this name, or "nothing".
std::string value_of(const Processes::Entries& entries, const std::string& name) {
  for (const auto& [entry, value] : entries) {
    if (entry == name) {
      return value;
    }
  }
  return "nothing";
}

// Returns the first process whose value of this name differs from process 0's.
std::optional<std::size_t> first_other(const std::vector<Processes::Entries>& all,
                                       const std::string& name) {
  for (std::size_t process = 1; process < all.size(); ++process) {
    if (value_of(all[process], name) != value_of(all.front(), name)) {
      return process;
    }
  }
  return std::nullopt;
}

}  // namespace

std::string process_name(int process, int num_processes, int num_ranks) {
  const int count = num_ranks / num_processes;
  const int first = process * count;
  return count == 1 ? fmt::format("process {} (rank {})", process, first)
                    : fmt::format("process {} (ranks {}-{})", process, first, first + count - 1);
}

// Exists while the processes are together.
class Processes::LastWords {
 public:
  explicit LastWords(std::function<std::string(const std::string&)> report) {
    report_to_all = std::move(report);
    std::set_terminate(fail_and_end);
  }
  ~LastWords() { report_to_all = nullptr; }
  LastWords(const LastWords&) = delete;
  LastWords& operator=(const LastWords&) = delete;
};

Processes::Processes(World world, ProcessesOptions options)
    : world_(std::move(world)), options_(std::move(options)), policy_(options_.backstop) {
  if (options_.num_ranks % world_.count != 0) {
    throw ConfigError(fmt::format(
        "processes: {} ranks cannot be dealt out to {} processes; the number of ranks must be a "
        "multiple of {}",
        options_.num_ranks, world_.count, world_.count));
  }
  for (int i = 0; i < world_.count; ++i) {
    names_.push_back(process_name(i, world_.count, options_.num_ranks));
  }
  if (world_.count > 1) {
    place_.key_prefix = fmt::format("halfback/{}/", world_.restart);
    if (world_.index == 0 && !world_.is_store_served) {
      server_ = std::make_unique<StoreServer>(world_.store_host, world_.store_port);
    }
    store_ = connect();
    take_place();
    meet();
    prepare([this] { choose_address(); });
  }
}

Processes::~Processes() {
  last_words_.reset();
  if (server_ && failure()) {
    // The others look for a failure every half second. One that is dead or stopped never will.
    serve_until(keys_of_all("heard"), std::chrono::milliseconds(1500));
  }
  policy_.on_failure(nullptr);
  membership_.reset();
}

std::string Processes::store_owner() const {
  return world_.is_store_served ? fmt::format("the launcher ({})", world_.launcher)
                                : names_.front();
}

std::vector<std::string> Processes::keys_of_all(const std::string& name) const {
  std::vector<std::string> keys;
  for (int i = 0; i < world_.count; ++i) {
    keys.push_back(fmt::format("{}{}/{}", place_.key_prefix, name, i));
  }
  return keys;
}

std::unique_ptr<StoreClient> Processes::connect() const {
  WaitNotes notes(options_.on_wait, options_.note_after);
  const auto text = [this] {
    return fmt::format("waiting for the store at {}:{}, which {} serves", world_.store_host,
                       world_.store_port, store_owner());
  };
  try {
    return std::make_unique<StoreClient>(world_.store_host, world_.store_port,
                                         options_.join_timeout, [&] { notes.look(text); });
  } catch (const TransportError& error) {
    throw TransportError(fmt::format(
        "process {} of {} tried for {:g} s: {}; {} serves it: is that running, and is the address "
        "right?",
        world_.index, world_.count, options_.join_timeout.count(), error.what(), store_owner()));
  }
}

void Processes::choose_address() {
  const char* const interface = std::getenv("GLOO_SOCKET_IFNAME");
  if (interface != nullptr && ::if_nametoindex(interface) == 0) {
    throw ConfigError(fmt::format(
        "environment: GLOO_SOCKET_IFNAME={}, and this machine has no such interface; name one that "
        "`ip address` lists",
        interface));
  }
  place_.interface = interface != nullptr ? interface : "";
  place_.listens_at = world_.is_on_one_host() || interface != nullptr
                          ? "127.0.0.1"
                          : address_towards(world_.store_host);
}

// Claims this process's number at the store.
void Processes::take_place() {
  const std::string where = fmt::format("{}:{}", world_.store_host, world_.store_port);
  const std::string own_count = std::to_string(world_.count);
  const std::string count = store_->set_first(place_.key_prefix + "count", own_count);
  if (count != own_count) {
    throw ConfigError(fmt::format(
        "processes: this is process {} of {}, and others at {} are of {}; give each run a port of "
        "its own, and all its processes the same number",
        world_.index, world_.count, where, count));
  }
  const std::string self = here();
  const std::string first =
      store_->set_first(keys_of_all("member")[static_cast<std::size_t>(world_.index)], self);
  if (first != self) {
    throw ConfigError(fmt::format(
        "processes: {} and {} both are process {} of the run at {}; give each run a port of its "
        "own, and each process a number of its own",
        first, self, world_.index, where));
  }
}

void Processes::meet() {
  const auto self = static_cast<std::size_t>(world_.index);
  const std::vector<std::string> heartbeats = keys_of_all("heartbeat");
  store_->set(heartbeats[self], kFirstHeartbeat);
  WaitNotes notes(options_.on_wait, options_.note_after);
  wait_for_all("to join", heartbeats, options_.join_timeout,
               [&] { notes.look([&] { return note_of_absent(heartbeats); }); });
  const std::vector<std::string> members = store_->get(keys_of_all("member"));
  const auto host_of = [](const std::string& member) { return member.substr(member.find(" on ")); };
  for (std::size_t i = 0; i < names_.size(); ++i) {
    names_[i].insert(names_[i].size() - 1, ", " + members[i]);
    are_on_one_host_ = are_on_one_host_ && host_of(members[i]) == host_of(members.front());
  }
  const MembershipOptions options{.process = self,
                                  .names = names_,
                                  .heartbeat_keys = heartbeats,
                                  .failure_key = place_.key_prefix + "failure",
                                  .heard_key = keys_of_all("heard")[self],
                                  .store_owner = store_owner(),
                                  .timeout = options_.timeout};
  membership_ = std::make_unique<Membership>(
      connect(), options, [this](const std::string& failure) { policy_.stop(failure); });
  last_words_ = std::make_unique<LastWords>([this](const std::string& text) { return fail(text); });
}

// Only the first process that is there reports, so that the note appears once.
std::string Processes::note_of_absent(const std::vector<std::string>& keys) const {
  const auto is_here = [this](const std::string& key) { return store_->has({key}); };
  const auto own = keys.begin() + world_.index;
  if (std::any_of(keys.begin(), own, is_here)) {
    return "";
  }
  return fmt::format("waiting for {} of {} processes at {}:{}",
                     world_.count - std::count_if(own, keys.end(), is_here), world_.count,
                     world_.store_host, world_.store_port);
}

void Processes::wait_for_all(const std::string& what,
                             const std::vector<std::string>& keys,
                             std::chrono::duration<double> timeout,
                             const std::function<void()>& meanwhile) {
  const auto deadline = Clock::now() + timeout;
  auto pause = std::chrono::milliseconds(1);
  while (!store_->has(keys)) {
    if (const auto known = failure()) {
      throw TransportError(*known);
    }
    if (Clock::now() > deadline) {
      std::vector<std::string> missing;
      for (std::size_t i = 0; i < keys.size(); ++i) {
        if (!store_->has({keys[i]})) {
          missing.push_back(names_[i]);
        }
      }
      throw TransportError(fmt::format("waited {:g} s at {}:{} for {} {}", timeout.count(),
                                       world_.store_host, world_.store_port,
                                       fmt::join(missing, ", "), what));
    }
    meanwhile();
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, std::chrono::milliseconds(20));
  }
}

std::string Processes::prefix(int process) const {
  return are_on_one_host_ ? "" : name(process) + ": ";
}

void Processes::prepare(const std::function<void()>& work) {
  const std::optional<RefusedError> refusal = refusal_of(work);
  exchange("to be ready",
           refusal ? (refusal->is_usage() ? kUsage : kFailure) + std::string(refusal->what())
                   : std::string(1, kValue),
           kWorkOfOthers);
}

std::vector<std::string> Processes::gather(const std::string& what,
                                           const std::string& text,
                                           std::chrono::duration<double> patience) {
  return exchange("to report: " + what, kValue + text, patience);
}

// All processes make the same calls until one of them refuses.
std::vector<std::string> Processes::exchange(const std::string& what,
                                             const std::string& text,
                                             std::chrono::duration<double> patience) {
  std::vector<std::string> texts = {text};
  if (world_.count > 1) {
    const auto keys = keys_of_all(fmt::format("gather/{}", num_gathers_++));
    store_->set(keys[static_cast<std::size_t>(world_.index)], text);
    wait_for_all(what, keys, std::max(options_.timeout, patience));
    texts = store_->get(keys);
  }
  const auto refusal = std::find_if(texts.begin(), texts.end(),
                                    [](const std::string& one) { return one.front() != kValue; });
  if (refusal != texts.end()) {
    const std::string& first = *refusal;
    const auto count = std::count(texts.begin(), texts.end(), first);
    const bool is_of_all = count == static_cast<std::ptrdiff_t>(texts.size());
    leave();
    throw RefusedError(
        (is_of_all ? "" : prefix(static_cast<int>(refusal - texts.begin()))) + first.substr(1),
        first.front() == kUsage);
  }
  for (std::string& one : texts) {
    one.erase(0, 1);
  }
  return texts;
}

void Processes::agree(const Entries& entries) {
  std::vector<Entries> all;
  for (const std::string& text : gather("agree", packed(entries), kWorkOfOthers)) {
    all.push_back(unpacked(text));
  }
  for (const Entries& one : all) {  // a name may be missing in some
    for (const auto& [name, value] : one) {
      if (const auto process = first_other(all, name)) {
        leave();
        throw RefusedError(
            fmt::format("processes: {} is not the same in all: {} in {}, and {} in {}; start all "
                        "processes with the same options and the same build",
                        name, value_of(all.front(), name), names_.front(),
                        value_of(all[*process], name), names_[*process]),
            true);
      }
    }
  }
}

void Processes::serve_until(const std::vector<std::string>& keys,
                            std::chrono::duration<double> timeout) {
  const auto deadline = Clock::now() + timeout;
  try {
    while (!store_->has(keys) && Clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  } catch (const TransportError&) {
    // This process is the server, and about to end.
  }
}

void Processes::leave() {
  if (!membership_) {
    return;
  }
  membership_->leave();
  gather("leave", "");
  membership_->end();
  const std::vector<std::string> done = keys_of_all("done");
  const std::string& own = done[static_cast<std::size_t>(world_.index)];
  store_->set(own, "");
  if (server_) {
    // A process that ended without this last word does not need the store any more either.
    serve_until(done, std::chrono::seconds(5));
  } else {
    store_->has({own});  // the answer means that it is there
  }
}

std::string Processes::fail(const std::string& text) {
  return membership_ ? membership_->report(fmt::format("{}: {}", name(world_.index), text)) : text;
}

void Processes::report_gone(int process, const std::string& reason) {
  if (membership_ && !membership_->has_left(process)) {
    membership_->report(fmt::format("{} is gone: {}", name(process), reason));
  }
}

std::optional<std::string> Processes::failure() const {
  return membership_ ? membership_->failure() : std::nullopt;
}

bool Processes::is_own_failure() const { return membership_ && membership_->is_own_failure(); }

void Processes::on_position(std::function<std::string()> callback) {
  if (membership_) {
    membership_->on_position(std::move(callback));
  }
}

void Processes::on_failure(std::function<void(const std::string&)> callback) {
  policy_.on_failure(std::move(callback));
}

}  // namespace halfback
