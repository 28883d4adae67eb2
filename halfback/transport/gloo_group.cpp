#include "halfback/transport/gloo_group.h"

#include "halfback/base/error.h"
#include "halfback/transport/c10d_error.h"

#include <fmt/format.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <mutex>
#include <utility>
#include <vector>

namespace halfback {

namespace {

// Longer than any run; Gloo has no waits without a deadline.
constexpr std::chrono::hours kForever{24 * 365};

class GlooTransfer final : public Transfer {
 public:
  explicit GlooTransfer(c10::intrusive_ptr<c10d::Work> work) : work_(std::move(work)) {}

  bool wait() override {
    try {
      return work_->wait(kForever);
    } catch (const std::exception&) {
      throw TransportError(c10d_reason());
    }
  }

  void abort() override { work_->abort(); }

 private:
  c10::intrusive_ptr<c10d::Work> work_;
};

c10::intrusive_ptr<c10d::Store> store_of(const GlooOptions& options) {
  c10d::TCPStoreOptions store;
  store.port = static_cast<std::uint16_t>(options.store_port);
  store.waitWorkers = false;
  store.timeout = std::chrono::ceil<std::chrono::milliseconds>(options.timeout);
  return c10::make_intrusive<c10d::PrefixStore>(
      options.key_prefix, c10::make_intrusive<c10d::TCPStore>(options.store_host, store));
}

c10::intrusive_ptr<c10d::ProcessGroupGloo> group_of(const GlooOptions& options) {
  using Group = c10d::ProcessGroupGloo;
  auto group =
      Group::Options::create(std::chrono::ceil<std::chrono::milliseconds>(options.timeout));
  group->threads = 1;
  group->devices.push_back(options.interface.empty()
                               ? Group::createDeviceForHostname(options.listens_at)
                               : Group::createDeviceForInterface(options.interface));
  return c10::make_intrusive<Group>(store_of(options), options.process, options.num_processes,
                                    std::move(group));
}

}  // namespace

struct GlooGroup::Impl {
  std::mutex mutex;  // c10d counts its calls without one
  c10::intrusive_ptr<c10d::ProcessGroupGloo> group;

  template <typename Call>
  std::unique_ptr<Transfer> begin(Call&& call) {
    const std::lock_guard lock(mutex);
    try {
      return std::make_unique<GlooTransfer>(call());
    } catch (const std::exception&) {
      throw TransportError(c10d_reason());
    }
  }
};

GlooGroup::GlooGroup(const GlooOptions& options) : impl_(std::make_unique<Impl>()) {
  try {
    impl_->group = group_of(options);
  } catch (const std::exception&) {
    throw TransportError(fmt::format(
        "process {} of {} could not connect with all others over {} (within {:g} s): {}; set "
        "GLOO_SOCKET_IFNAME to the interface that reaches them",
        options.process, options.num_processes,
        options.interface.empty() ? options.listens_at : options.interface, options.timeout.count(),
        c10d_reason()));
  }
}

GlooGroup::~GlooGroup() = default;

std::unique_ptr<Transfer> GlooGroup::send(const at::Tensor& tensor, int to, int tag) {
  std::vector<at::Tensor> list = {tensor};
  return impl_->begin([&] { return impl_->group->send(list, to, tag); });
}

std::unique_ptr<Transfer> GlooGroup::receive(const at::Tensor& tensor, int from, int tag) {
  std::vector<at::Tensor> list = {tensor};
  return impl_->begin([&] { return impl_->group->recv(list, from, tag); });
}

}  // namespace halfback
