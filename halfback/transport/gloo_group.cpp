#include "halfback/transport/gloo_group.h"

#include "halfback/base/error.h"
#include "halfback/transport/c10d_error.h"
#include "halfback/transport/process_group.h"

#include <fmt/format.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <chrono>
#include <utility>

namespace halfback {

namespace {

std::chrono::milliseconds timeout_of(const Processes& processes) {
  return std::chrono::ceil<std::chrono::milliseconds>(processes.timeout());
}

c10::intrusive_ptr<c10d::Store> store_of(const Processes& processes) {
  c10d::TCPStoreOptions store;
  store.port = static_cast<std::uint16_t>(processes.world().store_port);
  store.waitWorkers = false;
  store.timeout = timeout_of(processes);
  return c10::make_intrusive<c10d::PrefixStore>(
      processes.place().key_prefix + "gloo",
      c10::make_intrusive<c10d::TCPStore>(processes.world().store_host, store));
}

c10::intrusive_ptr<c10d::Backend> backend_of(const Processes& processes) {
  using Group = c10d::ProcessGroupGloo;
  const Processes::Place& place = processes.place();
  auto options = Group::Options::create(timeout_of(processes));
  options->threads = 1;
  options->devices.push_back(place.interface.empty()
                                 ? Group::createDeviceForHostname(place.listens_at)
                                 : Group::createDeviceForInterface(place.interface));
  return c10::make_intrusive<Group>(store_of(processes), processes.index(), processes.count(),
                                    std::move(options));
}

}  // namespace

std::shared_ptr<TransferGroup> make_gloo_group(const Processes& processes) {
  try {
    return transfers_over_backend(backend_of(processes));
  } catch (const std::exception&) {
    const Processes::Place& place = processes.place();
    throw TransportError(
        fmt::format("process {} of {} could not connect with all others over {} (within {:g} s): "
                    "{}; set GLOO_SOCKET_IFNAME to the interface that reaches them",
                    processes.index(), processes.count(),
                    place.interface.empty() ? place.listens_at : place.interface,
                    processes.timeout().count(), c10d_reason()));
  }
}

}  // namespace halfback
