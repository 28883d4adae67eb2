#include "halfback/engine/replicas.h"

#include "halfback/base/error.h"
#include "halfback/engine/exchange_keys.h"
#include "halfback/engine/memory.h"
#include "halfback/engine/shards.h"

#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <utility>

namespace halfback {

Replicas::Replicas(int rank, const Parts& parts) : rank_(rank), parts_(parts) {}

void Replicas::copy_values() {
  for (const auto& [number, stage] : parts_.stages) {
    const std::vector<int> copies = parts_.placement.ranks_of(number);
    const at::Tensor& values = stage->store().values();
    const bool is_source = copies.front() == rank_;
    const std::vector<at::Tensor> given(copies.size(), is_source ? values : at::Tensor());
    std::vector<at::Tensor> got(copies.size());
    got.front() = values;  // of the source itself: nothing
    parts_.transport
        .begin_exchange(rank_, exchange_keys::of_values(number),
                        trades_with_copies(rank_, copies, given, got))
        ->wait();
  }
}

void Replicas::begin_reduction(const Action& action) {
  finish_gradient(action.stage);
  parts_.device.wait();
  if (!reduction_) {
    reduction_.emplace(rank_, parts_.transport, parts_.device);
  }
  reduction_->begin({.action = action,
                     .gradients = parts_.stages.at(action.stage)->store().gradients(),
                     .copies = parts_.placement.ranks_of(action.stage)});
  begun_.insert(action.stage);
}

int Replicas::first_micro_batch(int stage) const {
  int micro_batch = 0;
  while (parts_.placement.rank_of(stage, parts_.placement.replica_of(micro_batch)) != rank_) {
    ++micro_batch;
  }
  return micro_batch;
}

void Replicas::finish_gradient(int stage) { parts_.stages.at(stage)->store().complete_gradients(); }

std::vector<Span> Replicas::finish_gradients() {
  std::vector<Span> spans;
  if (parts_.placement.num_replicas() == 1) {
    for (const auto& [number, stage] : parts_.stages) {
      finish_gradient(number);
    }
  } else {
    for (const auto& [number, stage] : parts_.stages) {
      if (begun_.count(number) == 0) {
        begin_reduction({ActionKind::ReduceGradient, number, first_micro_batch(number)});
      }
    }
    spans = reduction_->finish();
    begun_.clear();
    std::sort(spans.begin(), spans.end(), [](const Span& one, const Span& other) {
      return one.action.stage < other.action.stage;
    });
  }
  for (std::size_t pair = 0; pair < parts_.layout.tied.size(); ++pair) {
    for (int replica = 0; replica < parts_.placement.num_replicas(); ++replica) {
      share_tied_gradient(pair, replica);
    }
  }
  return spans;
}

void Replicas::share_tied_gradient(std::size_t pair, int replica) {
  const Placement& placement = parts_.placement;
  const TiedPair& tied = parts_.layout.tied[pair];
  const auto gradient_of = [&](const TiedPair::Place& place) -> at::Tensor& {
    return parts_.stages.at(place.stage)->store().parameters()[place.parameter]->gradient;
  };
  const int first = placement.rank_of(tied.original.stage, replica);
  const int second = placement.rank_of(tied.copy.stage, replica);
  if (first != rank_ && second != rank_) {
    return;
  }
  if (first == second) {
    gradient_of(tied.original).add_(gradient_of(tied.copy));
    gradient_of(tied.copy).copy_(gradient_of(tied.original));
    return;
  }
  at::Tensor& own = gradient_of(first == rank_ ? tied.original : tied.copy);
  const at::Tensor given = own.clone();
  const at::Tensor got = at::empty_like(own);
  parts_.device.wait();
  const int key =
      exchange_keys::of_tied_gradient({.pair = static_cast<int>(pair), .replica = replica},
                                      placement.num_stages(), placement.num_replicas());
  parts_.transport
      .begin_exchange(rank_, key,
                      {{.peer = first == rank_ ? second : first, .gives = given, .gets = got}})
      ->wait();
  own.add_(got);
}

void Replicas::share_updates() {
  parts_.device.wait();
  std::vector<std::unique_ptr<Exchange>> exchanges;
  for (const auto& [number, stage] : parts_.stages) {
    const std::vector<int> copies = parts_.placement.ranks_of(number);
    const at::Tensor& values = stage->store().values();
    const ElementRange& own = stage->own_elements();
    const std::vector<at::Tensor> given(copies.size(), values.narrow(0, own.begin, own.size()));
    exchanges.push_back(parts_.transport.begin_exchange(
        rank_, exchange_keys::of_values(number),
        trades_with_copies(rank_, copies, given, shards_of(values, copies.size()))));
  }
  for (const auto& exchange : exchanges) {
    exchange->wait();
  }
}

std::vector<ShardedBuffer> Replicas::gather_optimizer_state(int stage, const IsChosen& is_chosen) {
  const MemoryOwner nobody(kNoRank);
  const std::vector<int> copies = parts_.placement.ranks_of(stage);
  const auto own = std::find(copies.begin(), copies.end(), rank_) - copies.begin();
  const bool is_here = is_chosen(stage, static_cast<int>(own));
  std::vector<ShardedBuffer> state = parts_.stages.at(stage)->optimizer_state();
  for (std::size_t kind = 0; kind < state.size(); ++kind) {
    std::vector<at::Tensor> given(copies.size());
    for (std::size_t copy = 0; copy < copies.size(); ++copy) {
      if (is_chosen(stage, static_cast<int>(copy))) {
        given[copy] = state[kind].own();
      }
    }
    const std::vector<at::Tensor> got = is_here ? shards_of(state[kind].whole(), copies.size())
                                                : std::vector<at::Tensor>(copies.size());
    const int key = exchange_keys::of_reduction({.stage = stage, .bucket = static_cast<int>(kind)});
    parts_.transport.begin_exchange(rank_, key, trades_with_copies(rank_, copies, given, got))
        ->wait();
  }
  return is_here ? std::move(state) : std::vector<ShardedBuffer>();
}

}  // namespace halfback
