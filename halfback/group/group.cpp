#include "halfback/group/group.h"

#include "halfback/base/error.h"
#include "halfback/group/pairwise_sum.h"
#include "halfback/group/shards.h"
#include "halfback/transport/number_tensor.h"

#include <ATen/ops/empty_like.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <span>
#include <utility>

namespace halfback {

namespace {

constexpr int kMostUnderWay = 256;  // exchanges of one group at a time
constexpr int kMostSplits = 1 << 16;

bool travels(const at::Tensor& tensor) { return tensor.defined() && tensor.numel() > 0; }

}  // namespace

Group::Group(Exchanges& exchanges, std::vector<int> ranks, int rank, int id)
    : exchanges_(&exchanges),
      ranks_(std::move(ranks)),
      rank_(rank),
      id_(id),
      name_(std::make_shared<const std::string>(
          id == 0 ? fmt::format("all {} ranks", ranks_.size())
                  : fmt::format("ranks {}", fmt::join(ranks_, ", ")))) {}

Group Group::world(Exchanges& exchanges, int rank, int num_ranks) {
  std::vector<int> ranks(static_cast<std::size_t>(num_ranks));
  std::iota(ranks.begin(), ranks.end(), 0);
  return {exchanges, std::move(ranks), rank, 0};
}

std::optional<Group> Group::split(const std::vector<int>& members) {
  HALFBACK_CHECK(++num_splits_ < kMostSplits, fmt::format("{} splits", num_splits_));
  const auto own = std::find(members.begin(), members.end(), rank_);
  if (own == members.end()) {
    return std::nullopt;
  }
  std::vector<int> ranks;
  for (const int member : members) {
    ranks.push_back(ranks_.at(static_cast<std::size_t>(member)));
  }
  return Group(*exchanges_, std::move(ranks), static_cast<int>(own - members.begin()),
               id_ * kMostSplits + num_splits_);
}

bool Group::is_of_one_rank() const {
  return std::all_of(ranks_.begin(), ranks_.end(), [&](int rank) { return rank == ranks_[0]; });
}

std::unique_ptr<Exchange> Group::begin(const char* operation,
                                       const Parts& gives,
                                       const Parts& gets) {
  std::vector<PeerTensors> tensors;
  for (std::size_t member = 0; member < ranks_.size(); ++member) {
    if (static_cast<int>(member) == rank_) {
      continue;
    }
    PeerTensors one{.peer = ranks_[member], .gives = {}, .gets = {}};
    if (travels(gives[member])) {
      one.gives = gives[member];
    }
    if (travels(gets[member])) {
      one.gets = gets[member];
    }
    tensors.push_back(std::move(one));
  }
  const int key = id_ * kMostUnderWay + num_exchanges_;
  num_exchanges_ = (num_exchanges_ + 1) % kMostUnderWay;
  const int own = ranks_[static_cast<std::size_t>(rank_)];
  return exchanges_->begin_exchange(own, {.key = key, .operation = operation, .group = name_},
                                    std::move(tensors));
}

void Group::broadcast(const at::Tensor& tensor, int root) {
  Parts gives(ranks_.size(), rank_ == root ? tensor : at::Tensor());
  Parts gets(ranks_.size());
  gets[static_cast<std::size_t>(root)] = tensor;
  begin("broadcast", gives, gets)->wait();
}

std::unique_ptr<Exchange> Group::begin_all_gather(const Parts& parts, const char* operation) {
  const Parts own(ranks_.size(), parts[static_cast<std::size_t>(rank_)]);
  return begin(operation, own, parts);
}

// A message of fixed size holds the count and the first numbers. Only longer lists take a second
// message.
std::vector<std::vector<double>> Group::all_gather(const std::vector<double>& numbers) {
  constexpr std::size_t kFirst = 255;
  std::vector<std::vector<double>> heads(ranks_.size(), std::vector<double>(1 + kFirst));
  std::vector<std::vector<double>> all(ranks_.size());
  const auto own = static_cast<std::size_t>(rank_);
  heads[own][0] = static_cast<double>(numbers.size());
  std::copy_n(numbers.begin(), std::min(kFirst, numbers.size()), heads[own].begin() + 1);
  all[own] = numbers;
  Parts parts;
  for (std::vector<double>& head : heads) {
    parts.push_back(tensor_over(std::span(head)));
  }
  all_gather(parts);
  bool is_whole = true;
  for (std::size_t member = 0; member < all.size(); ++member) {
    const auto size = static_cast<std::size_t>(heads[member][0]);
    all[member].resize(size);
    const std::size_t first = std::min(kFirst, size);
    std::copy_n(heads[member].begin() + 1, first, all[member].begin());
    parts[member] = tensor_over(std::span(all[member]).subspan(first));
    is_whole = is_whole && first == size;
  }
  if (!is_whole) {
    all_gather(parts);
  }
  return all;
}

void Group::reduce_scatter(const Parts& parts, const char* operation) {
  const at::Tensor& own = parts[static_cast<std::size_t>(rank_)];
  Parts terms;
  for (std::size_t member = 0; member < ranks_.size(); ++member) {
    terms.push_back(static_cast<int>(member) == rank_ ? own : at::empty_like(own));
  }
  begin(operation, parts, terms)->wait();
  own.copy_(pairwise_sum(terms));
}

void Group::all_reduce(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.view({-1});
  Parts parts;
  for (const ElementRange& range : equal_shards(flat.numel(), ranks_.size())) {
    parts.push_back(flat.narrow(0, range.begin, range.size()));
  }
  reduce_scatter(parts, "all_reduce");
  begin_all_gather(parts, "all_reduce")->wait();
}

}  // namespace halfback
