// What crosses from stage to stage, and on which channel. A channel is an ordered pair of ranks;
// activations and gradients of all stages and replicas between the two share it, in one order.
//
// All functions expect stages and ranks within the placement.
#pragma once

#include "halfback/schedule/schedule.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace halfback {

// Returns the stage that an action's tensor comes from or goes to: F and RECV_F the previous, B, I
// and RECV_B the next for what they take; SEND_F the next, SEND_B the previous. Nothing at the ends
// of the model, for W and for U.
std::optional<int> other_stage(const Placement& placement, const Action& action);

// Returns the action whose tensor this compute action takes from another stage, as F of the stage
// before for F; for I and B it is an I or a B, given as I.
std::optional<Action> taken_from(const Placement& placement, const Action& action);

// Returns the receive that a compute action needs, and the send that it makes possible: only where
// the other stage is on another rank.
std::optional<Action> needed_receive(const Placement& placement, const Action& action);
std::optional<Action> resulting_send(const Placement& placement, const Action& action);

// Returns the other end of a message: 1SEND_F0 for 2RECV_F0.
Action counterpart(const Action& message);

// Numbers the channels of a placement, which must outlive it.
class Channels {
 public:
  explicit Channels(const Placement& placement);

  int count() const { return static_cast<int>(pairs_.size()); }
  int from(int channel) const { return pairs_[static_cast<std::size_t>(channel)].first; }
  int to(int channel) const { return pairs_[static_cast<std::size_t>(channel)].second; }
  // Returns the channel between the same ranks the other way.
  int reverse(int channel) const { return reverse_[static_cast<std::size_t>(channel)]; }
  // Returns the channel of a message between two stages on different ranks.
  int of(const Action& message) const;

 private:
  // In forward_ and backward_, by replica and stage s: the channels from s to s + 1 and back.
  std::size_t boundary(int stage, int micro_batch) const {
    return static_cast<std::size_t>(placement_->replica_of(micro_batch)) * num_boundaries_ +
           static_cast<std::size_t>(stage);
  }

  const Placement* placement_;
  std::size_t num_boundaries_;
  std::vector<std::pair<int, int>> pairs_;  // ranks, ascending
  std::vector<int> reverse_;                // by channel
  std::vector<int> forward_;
  std::vector<int> backward_;
};

}  // namespace halfback
