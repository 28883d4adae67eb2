#include "halfback/engine/byte_probe.h"

#include "halfback/schedule/passes.h"
#include "halfback/schedule/runnable.h"

#include <cstddef>
#include <utility>

namespace halfback {

namespace {

using Alive = StorageWatch::Alive;

void forget(Alive& alive, const Tensors& tensors) {
  for (const at::Tensor& one : tensors) {
    if (one.defined()) {
      alive.erase(one.storage().unsafeGetStorageImpl());
    }
  }
}

std::int64_t bytes_of(const Tensors& tensors) {
  std::int64_t sum = 0;
  for (const at::Tensor& one : tensors) {
    sum += one.defined() ? static_cast<std::int64_t>(one.nbytes()) : 0;
  }
  return sum;
}

Alive without(Alive all, const Alive& others) {
  std::erase_if(all, [&](const auto& one) { return others.contains(one.first); });
  return all;
}

}  // namespace

Schedule probe_schedule(const Schedule& schedule) {
  Schedule probing{.name = schedule.name,
                   .num_micro_batches = 1,
                   .placement = {.replicas = {schedule.placement.replicas.front()}},
                   .ranks = std::vector<std::vector<Action>>(schedule.ranks.size()),
                   .losses = schedule.losses};
  const auto append = [&](ActionKind kind, int stage) {
    const Action action{kind, stage, 0};
    probing.ranks[static_cast<std::size_t>(probing.placement.rank_of(action))].push_back(action);
  };
  for (int stage = 0; stage < schedule.num_stages(); ++stage) {
    append(ActionKind::Forward, stage);
  }
  for (int stage = schedule.num_stages(); stage-- > 0;) {
    append(ActionKind::BackwardInput, stage);
    append(ActionKind::BackwardWeight, stage);
  }
  return *make_runnable(probing);
}

std::map<int, StageBytes> ByteProbe::found() const {
  std::map<int, StageBytes> all;
  for (const auto& [stage, kept] : kept_) {
    all[stage] = kept.bytes;
  }
  return all;
}

// What an action takes is its own if it keeps it; what it returns is not.
Tensors ByteProbe::compute(const Action& action, Tensors taken) {
  Kept& kept = kept_[action.stage];
  for (const at::Tensor& one : taken) {
    watch_.note(one);
  }
  Alive others = without(watch_.alive(), kept.after_forward);
  forget(others, taken);
  const std::int64_t message = bytes_of(taken);
  Tensors returned = runner_.compute(action, std::move(taken));
  Alive after = without(watch_.alive(), others);
  forget(after, returned);
  if (action.kind == ActionKind::Forward) {
    kept.bytes.activation_message = message;
    kept.after_forward = std::move(after);
  } else {
    kept.bytes.gradient_message = message;
    kept.after_input = std::move(after);
  }
  return returned;
}

void ByteProbe::compute_weights(std::span<const Action> weights) {
  const int stage = weights.front().stage;
  Kept& kept = kept_[stage];
  runner_.compute_weights(weights);
  const SavedBytes saved = kept_bytes(kept.after_forward, kept.after_input, watch_.alive());
  kept.bytes.until_input = saved.until_input;
  kept.bytes.until_weight = saved.until_weight;
  kept.bytes.gradients = saved.gradients;
}

}  // namespace halfback
