#include "halfback/transport/store.h"

#include "halfback/base/error.h"
#include "halfback/transport/c10d_error.h"

#include <c10/util/Logging.h>
#include <fmt/format.h>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <future>
#include <netdb.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>

C10_DECLARE_int(caffe2_log_level);

namespace halfback {

namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes bytes_of(const std::string& text) { return {text.begin(), text.end()}; }
std::string text_of(const Bytes& bytes) { return {bytes.begin(), bytes.end()}; }

// c10d also writes a stack trace to stderr for each exception that it throws.
void leave_reports_to_us() {
  constexpr int kFatal = 3;
  if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) {
    FLAGS_caffe2_log_level = kFatal;
  }
}

std::chrono::milliseconds milliseconds_of(std::chrono::duration<double> seconds) {
  return std::chrono::ceil<std::chrono::milliseconds>(seconds);
}

// Returns a socket that listens at the host's first address that belongs to this machine, or -1.
int listen_at(const char* host, int port) {
  addrinfo wanted{};
  wanted.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host, std::to_string(port).c_str(), &wanted, &found) != 0) {
    errno = EADDRNOTAVAIL;
    return -1;
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
  for (; found != nullptr; found = found->ai_next) {
    const int fd = ::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int yes = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    if (::bind(fd, found->ai_addr, found->ai_addrlen) == 0 && ::listen(fd, SOMAXCONN) == 0) {
      return fd;
    }
    const int reason = errno;
    ::close(fd);
    errno = reason;
  }
  return -1;
}

// Where this machine itself reaches a listening socket.
struct OwnAddress {
  std::string host;
  int port = 0;
};

OwnAddress address_of(int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  char host[NI_MAXHOST] = {};
  char port[NI_MAXSERV] = {};
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  ::getsockname(fd, any, &length);
  ::getnameinfo(any, length, host, sizeof(host), port, sizeof(port),
                NI_NUMERICHOST | NI_NUMERICSERV);
  const std::string_view name = host;
  return {name == "0.0.0.0" || name == "::" ? "localhost" : host, std::atoi(port)};
}

// Runs a call and turns what c10d throws into TransportError.
template <typename Call>
auto speaking(const std::string& where, Call&& call) {
  try {
    return std::forward<Call>(call)();
  } catch (const std::exception&) {
    throw TransportError(fmt::format("no store answers at {}: {}", where, c10d_reason()));
  }
}

}  // namespace

struct StoreServer::Impl {
  c10::intrusive_ptr<c10d::TCPStore> store;
};

StoreServer::StoreServer(const std::string& host, int port) : impl_(std::make_unique<Impl>()) {
  leave_reports_to_us();
  int fd = listen_at(host.c_str(), port);
  if (fd < 0 && errno == EADDRNOTAVAIL) {
    fd = listen_at(nullptr, port);
  }
  if (fd < 0) {
    throw TransportError(
        fmt::format("the store cannot be served at {}:{}: {}; choose another port, or stop what "
                    "listens there",
                    host, port, std::strerror(errno)));
  }
  // c10d's server is also a client of itself, and waits silently if only others can reach its name.
  const OwnAddress own = address_of(fd);
  port_ = own.port;
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(port_);
  options.isServer = true;
  options.waitWorkers = false;
  options.masterListenFd = fd;
  impl_->store = speaking(fmt::format("{}:{}", host, port_),
                          [&] { return c10::make_intrusive<c10d::TCPStore>(own.host, options); });
}

StoreServer::~StoreServer() = default;

struct StoreClient::Impl {
  std::string where;
  c10::intrusive_ptr<c10d::TCPStore> store;
};

StoreClient::StoreClient(const std::string& host,
                         int port,
                         std::chrono::duration<double> timeout,
                         const std::function<void()>& meanwhile)
    : impl_(std::make_unique<Impl>()) {
  leave_reports_to_us();
  impl_->where = fmt::format("{}:{}", host, port);
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(port);
  options.waitWorkers = false;
  options.timeout = milliseconds_of(timeout / 2);  // c10d tries again once that has passed
  // c10d waits without a deadline for its peer's first answer, so another thread connects.
  constexpr std::chrono::seconds kForTheFirstWord{5};
  std::packaged_task<c10::intrusive_ptr<c10d::TCPStore>()> connect(
      [host, options] { return c10::make_intrusive<c10d::TCPStore>(host, options); });
  auto connected = connect.get_future();
  std::thread(std::move(connect)).detach();
  const auto deadline = std::chrono::steady_clock::now() + timeout + kForTheFirstWord;
  while (connected.wait_for(std::chrono::milliseconds(100)) != std::future_status::ready) {
    if (std::chrono::steady_clock::now() > deadline) {
      throw TransportError(fmt::format(
          "what listens at {} does not answer as a store does; give the run a port of its own",
          impl_->where));
    }
    meanwhile();
  }
  impl_->store = speaking(impl_->where, [&] { return connected.get(); });
}

StoreClient::~StoreClient() = default;

void StoreClient::set(const std::string& key, const std::string& text) {
  speaking(impl_->where, [&] { impl_->store->set(key, bytes_of(text)); });
}

std::string StoreClient::set_first(const std::string& key, const std::string& text) {
  return speaking(impl_->where,
                  [&] { return text_of(impl_->store->compareSet(key, Bytes(), bytes_of(text))); });
}

bool StoreClient::has(const std::vector<std::string>& keys) {
  return speaking(impl_->where, [&] { return impl_->store->check(keys); });
}

std::optional<std::string> StoreClient::find(const std::string& key) {
  if (!has({key})) {
    return std::nullopt;
  }
  return get({key}).front();
}

std::vector<std::string> StoreClient::get(const std::vector<std::string>& keys) {
  return speaking(impl_->where, [&] {
    std::vector<std::string> texts;
    for (const Bytes& bytes : impl_->store->multiGet(keys)) {
      texts.push_back(text_of(bytes));
    }
    return texts;
  });
}

}  // namespace halfback
