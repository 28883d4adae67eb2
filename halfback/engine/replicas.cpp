#include "halfback/engine/replicas.h"

#include "halfback/base/error.h"
#include "halfback/engine/memory.h"
#include "halfback/group/shards.h"

#include <ATen/ops/empty_like.h>

#include <utility>

namespace halfback {

Replicas::Replicas(int rank, const Parts& parts) : rank_(rank), parts_(parts) {
  const Placement& placement = parts.placement;
  for (int stage = 0; stage < placement.num_stages(); ++stage) {
    if (auto group = parts.world.split(placement.ranks_of(stage))) {
      Group& replicas = replicas_.emplace(stage, std::move(*group)).first->second;
      if (replicas.size() > 1) {
        sums_.try_emplace(stage, rank, replicas, parts.device);
      }
    }
  }
  for (std::size_t pair = 0; pair < parts.layout.tied.size(); ++pair) {
    const TiedPair& tied = parts.layout.tied[pair];
    for (int replica = 0; replica < placement.num_replicas(); ++replica) {
      if (auto group = parts.world.split({placement.rank_of(tied.original.stage, replica),
                                          placement.rank_of(tied.copy.stage, replica)})) {
        ties_.emplace(std::pair(pair, replica), std::move(*group));
      }
    }
  }
}

void Replicas::copy_values() {
  for (const auto& [number, stage] : parts_.stages) {
    replicas_of(number).broadcast(stage->store().values(), 0);
  }
}

void Replicas::begin_reduction(const Action& action) {
  ParameterStore& store = parts_.stages.at(action.stage)->store();
  store.complete_gradients();
  parts_.device.wait();
  sums_.at(action.stage).begin(action, store.gradients());
}

// The span of a sum that no list has begun is that of its replica's first micro-batch.
void Replicas::begin_unbegun(int stage) {
  if (sums_.at(stage).has_begun()) {
    return;
  }
  int micro_batch = 0;
  while (parts_.placement.rank_of(stage, parts_.placement.replica_of(micro_batch)) != rank_) {
    ++micro_batch;
  }
  begin_reduction({ActionKind::ReduceGradient, stage, micro_batch});
}

std::optional<Span> Replicas::finish_gradient(int stage) {
  if (sums_.empty()) {
    parts_.stages.at(stage)->store().complete_gradients();
    return std::nullopt;
  }
  begin_unbegun(stage);
  return sums_.at(stage).finish();
}

std::vector<Span> Replicas::finish_gradients() {
  for (const auto& [stage, sum] : sums_) {
    begin_unbegun(stage);
  }
  std::vector<Span> spans;
  for (const auto& [number, stage] : parts_.stages) {
    if (const auto span = finish_gradient(number)) {
      spans.push_back(*span);
    }
  }
  for (auto& [key, both] : ties_) {
    share_tied_gradient(parts_.layout.tied[key.first], both);
  }
  return spans;
}

// Both ends get the sum of the two. If one rank holds both, it is in the group twice.
void Replicas::share_tied_gradient(const TiedPair& tied, Group& both) {
  const auto gradient_of = [&](const TiedPair::Place& place) -> at::Tensor& {
    return parts_.stages.at(place.stage)->store().parameters()[place.parameter]->gradient;
  };
  if (both.is_of_one_rank()) {
    gradient_of(tied.original).add_(gradient_of(tied.copy));
    gradient_of(tied.copy).copy_(gradient_of(tied.original));
    return;
  }
  at::Tensor& own = gradient_of(both.rank() == 0 ? tied.original : tied.copy);
  const at::Tensor given = own.clone();
  const at::Tensor got = at::empty_like(own);
  parts_.device.wait();
  both.exchange({given, given}, {got, got});
  own.add_(got);
}

void Replicas::begin_share(int stage) {
  if (!parts_.shards_optimizer) {
    return;
  }
  parts_.device.wait();
  Group& replicas = replicas_of(stage);
  shares_.push_back(replicas.begin_all_gather(shards_of(
      parts_.stages.at(stage)->store().values(), static_cast<std::size_t>(replicas.size()))));
}

void Replicas::finish_shares() {
  for (const auto& exchange : std::exchange(shares_, {})) {
    exchange->wait();
  }
}

std::optional<std::vector<ShardedBuffer>> Replicas::gather_update_state(int stage,
                                                                        const IsChosen& is_chosen) {
  const MemoryOwner nobody(kNoRank);
  Group& replicas = replicas_of(stage);
  const auto count = static_cast<std::size_t>(replicas.size());
  const bool is_here = is_chosen(stage, replicas.rank());
  std::vector<ShardedBuffer> state = parts_.stages.at(stage)->update_state();
  for (ShardedBuffer& buffer : state) {
    if (buffer.is_on_each_replica()) {
      continue;
    }
    Group::Parts given(count);
    for (int replica = 0; replica < replicas.size(); ++replica) {
      if (is_chosen(stage, replica)) {
        given[static_cast<std::size_t>(replica)] = buffer.own();
      }
    }
    replicas.exchange(given, is_here ? shards_of(buffer.whole(), count) : Group::Parts(count));
  }
  return is_here ? std::optional(std::move(state)) : std::nullopt;
}

}  // namespace halfback
