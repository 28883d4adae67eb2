#include "halfback/transport/process_group.h"

#include "halfback/base/error.h"
#include "halfback/transport/c10d_error.h"

#include <fmt/format.h>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace halfback {

namespace {

using Backend = c10::intrusive_ptr<c10d::Backend>;

// Longer than any run; without a deadline here, the group's own would count.
constexpr std::chrono::hours kForever{24 * 365};

class WorkTransfer final : public Transfer {
 public:
  explicit WorkTransfer(c10::intrusive_ptr<c10d::Work> work) : work_(std::move(work)) {}

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

class BackendTransfers final : public TransferGroup {
 public:
  explicit BackendTransfers(Backend backend) : backend_(std::move(backend)) {}

  int index() const override { return backend_->getRank(); }
  int count() const override { return backend_->getSize(); }

  std::unique_ptr<Transfer> send(const at::Tensor& tensor, int to, int tag) override {
    std::vector<at::Tensor> list = {tensor};
    return begin([&] { return backend_->send(list, to, tag); });
  }

  std::unique_ptr<Transfer> receive(const at::Tensor& tensor, int from, int tag) override {
    std::vector<at::Tensor> list = {tensor};
    return begin([&] { return backend_->recv(list, from, tag); });
  }

 private:
  template <typename Call>
  std::unique_ptr<Transfer> begin(Call&& call) {
    const std::lock_guard lock(mutex_);
    try {
      return std::make_unique<WorkTransfer>(call());
    } catch (const std::exception&) {
      throw TransportError(c10d_reason());
    }
  }

  std::mutex mutex_;  // c10d counts its calls without one
  const Backend backend_;
};

// Takes a backend for one network.
void take(const Backend& backend) {
  using Weak = c10::weak_intrusive_ptr<c10d::Backend>;
  static std::mutex mutex;
  static std::vector<Weak> taken;
  const std::lock_guard lock(mutex);
  std::erase_if(taken, [](const Weak& one) { return one.expired(); });
  const Weak own(backend);
  if (std::find(taken.begin(), taken.end(), own) != taken.end()) {
    throw TransportError(
        "transport: this process group has been given to a network before, whose receives are "
        "still in it; give each network a new_group(backend=\"gloo\") of its own");
  }
  taken.push_back(own);
}

}  // namespace

std::shared_ptr<TransferGroup> transfers_over(const c10::intrusive_ptr<c10d::ProcessGroup>& group) {
  Backend backend;
  std::string name = "none";
  if (group->hasBackendForDeviceType(c10::DeviceType::CPU)) {
    backend = group->getBackend(c10::DeviceType::CPU);
    name = backend->getBackendName();
  }
  if (name != "gloo") {
    throw TransportError(fmt::format(
        "transport: the process group's backend for CPU tensors is {}; messages between processes "
        "need gloo; give a new_group(backend=\"gloo\") of all processes",
        name));
  }
  take(backend);
  return transfers_over_backend(backend);
}

std::shared_ptr<TransferGroup> transfers_over_backend(c10::intrusive_ptr<c10d::Backend> backend) {
  return std::make_shared<BackendTransfers>(std::move(backend));
}

}  // namespace halfback
