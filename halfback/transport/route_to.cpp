#include "halfback/transport/route_to.h"

#include "halfback/base/error.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

namespace halfback {

std::string address_towards(const std::string& host) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  const int fault = ::getaddrinfo(host.c_str(), "9", &wanted, &found);
  if (fault != 0) {
    throw TransportError(
        fmt::format("{} has no address: {}; correct MASTER_ADDR", host, ::gai_strerror(fault)));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
  const int fd = ::socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  char text[NI_MAXHOST] = {};
  // Connecting a datagram socket only looks up the route.
  const bool is_found =
      ::connect(fd, found->ai_addr, found->ai_addrlen) == 0 &&
      ::getsockname(fd, any, &length) == 0 &&
      ::getnameinfo(any, length, text, sizeof(text), nullptr, 0, NI_NUMERICHOST) == 0;
  const int reason = errno;
  ::close(fd);
  if (!is_found) {
    throw TransportError(fmt::format("no route leads to {}: {}; set GLOO_SOCKET_IFNAME", host,
                                     std::strerror(reason)));
  }
  return text;
}

}  // namespace halfback
