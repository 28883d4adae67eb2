#include "halfback/engine/output_copies.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

namespace halfback {

OutputCopies::OutputCopies(int rank, const Parts& parts) : rank_(rank), parts_(parts) {
  const Placement& placement = parts.placement;
  if (parts.layout.readers.empty()) {
    return;
  }
  for (int replica = 0; replica < placement.num_replicas(); ++replica) {
    std::vector<int> members = {placement.rank_of(placement.num_stages() - 1, replica)};
    for (const int reader : parts.layout.readers) {
      const int member = placement.rank_of(reader, replica);
      if (std::ranges::find(members, member) == members.end()) {
        members.push_back(member);
      }
    }
    if (auto group = parts.world.split(members)) {
      groups_.emplace(replica, std::move(*group));
    }
  }
}

const at::Tensor& OutputCopies::matrix_of(int stage) const {
  return parts_.stages.at(stage)->layers().loss->output_matrix()->value;
}

std::vector<at::Tensor> OutputCopies::copies_of(int replica) const {
  std::vector<at::Tensor> copies;
  for (const int reader : parts_.layout.readers) {
    if (parts_.placement.rank_of(reader, replica) == rank_) {
      copies.push_back(matrix_of(reader));
    }
  }
  return copies;
}

void OutputCopies::refresh() {
  parts_.device.wait();
  // A rank may have stages of several replicas, so it does not wait in between.
  std::vector<std::unique_ptr<Exchange>> exchanges;
  for (auto& [replica, group] : groups_) {
    const auto size = static_cast<std::size_t>(group.size());
    Group::Parts gives(size);
    Group::Parts gets(size);
    if (group.rank() == 0) {
      std::fill(gives.begin() + 1, gives.end(), matrix_of(parts_.placement.num_stages() - 1));
    } else {
      gets.front() = copies_of(replica).front();
    }
    exchanges.push_back(group.begin_exchange(gives, gets));
  }
  for (const auto& exchange : exchanges) {
    exchange->wait();
  }
  for (const auto& [replica, group] : groups_) {
    const std::vector<at::Tensor> copies = copies_of(replica);
    for (const at::Tensor& copy : copies) {
      copy.copy_(group.rank() == 0 ? matrix_of(parts_.placement.num_stages() - 1) : copies.front());
    }
  }
}

}  // namespace halfback
