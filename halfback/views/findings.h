// What there is to say about a valid schedule: over which channels it runs, what it holds, and what
// PyTorch does with its file.
#pragma once

#include "halfback/schedule/dry_run.h"
#include "halfback/schedule/schedule.h"
#include "halfback/schedule/torch_rules.h"

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace halfback {

// Over which channels the messages of a schedule pass.
struct ChannelFindings {
  std::optional<int> smallest_capacity;  // 0: rendezvous; nothing: only streams let it run
  bool runs_nccl = false;
  bool runs_nccl_pair = false;
};

// Returns them for a valid schedule with messages. Linear in the number of actions, times the
// logarithm of the capacity.
ChannelFindings find_channels(const Schedule& schedule);

// Returns the number of sends in the lists.
std::int64_t count_sends(const Schedule& schedule);

// Returns the memory of the rank that holds most until W, in M_B: see activation_peaks().
double most_activations_held(const Schedule& schedule);

// What PyTorch does with a file. Times are makespans for F = I = W = 1 without communication. In
// PyTorch, stage 0 does nothing in I, and its whole backward in W.
struct TorchFindings {
  std::vector<TorchFinding> faults;
  double step = 0.0;
  double step_there = 0.0;
};

// Returns it for a valid schedule and the text of its file.
TorchFindings find_for_torch(const Schedule& schedule, std::string_view text);

// Returns "refused" or "wrong".
std::string_view name_of(TorchFinding::Kind kind);

}  // namespace halfback
