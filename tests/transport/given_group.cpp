#include "tests/transport/given_group.h"

#include "halfback/transport/process_group.h"

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <chrono>
#include <string>

namespace halfback::testing {

namespace {

using Group = c10d::ProcessGroup;

class OtherBackend final : public c10d::Backend {
 public:
  using c10d::Backend::Backend;
  const std::string getBackendName() const override { return "mpi"; }
};

c10::intrusive_ptr<c10d::Store> store_of(const Processes& processes, int size) {
  c10d::TCPStoreOptions store;
  store.port = static_cast<std::uint16_t>(processes.world().store_port);
  store.waitWorkers = false;
  // Groups of one process each do not meet.
  const std::string own = size == 1 ? std::to_string(processes.index()) : "all";
  return c10::make_intrusive<c10d::PrefixStore>(
      "given/" + own, c10::make_intrusive<c10d::TCPStore>(processes.world().store_host, store));
}

c10::intrusive_ptr<Group> group_of(const Processes& processes, Given given) {
  const int size = given == Given::TooSmall ? 1 : processes.count();
  const int index = given == Given::TooSmall   ? 0
                    : given == Given::Reversed ? size - 1 - processes.index()
                                               : processes.index();
  const auto store = store_of(processes, size);
  auto group = c10::make_intrusive<Group>(store, index, size);
  if (given == Given::OtherBackend) {
    group->setBackend(c10::DeviceType::CPU, Group::BackendType::CUSTOM,
                      c10::make_intrusive<OtherBackend>(index, size));
  } else if (given != Given::NoBackend) {
    using Gloo = c10d::ProcessGroupGloo;
    auto options = Gloo::Options::create(std::chrono::seconds(2));
    options->devices.push_back(Gloo::createDeviceForHostname("127.0.0.1"));
    group->setBackend(c10::DeviceType::CPU, Group::BackendType::GLOO,
                      c10::make_intrusive<Gloo>(store, index, size, options));
    group->setDefaultBackend(Group::BackendType::GLOO);
  }
  return group;
}

}  // namespace

std::shared_ptr<TransferGroup> given_group(const Processes& processes, Given given) {
  const auto group = group_of(processes, given);
  const auto first = transfers_over(group);
  return given == Given::Twice ? transfers_over(group) : first;
}

}  // namespace halfback::testing
