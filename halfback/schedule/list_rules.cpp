#include "halfback/schedule/list_rules.h"

#include "halfback/schedule/dataflow.h"
#include "halfback/schedule/fault.h"
#include "halfback/schedule/numbering.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace halfback {

namespace {

using detail::describe_place;
using detail::throw_fault;

// One byte for each stage and micro-batch, because there are millions of pairs.
using KindBits = std::uint8_t;
static_assert(std::ranges::all_of(kKinds, [](const KindTraits& row) {
  return !row.names_micro_batch || static_cast<int>(row.kind) < 8;
}));

KindBits bit(ActionKind kind) { return static_cast<KindBits>(1U << static_cast<unsigned>(kind)); }

constexpr std::string_view kOnce =
    "each stage runs each micro-batch with one F and either one B or one I and one W";
constexpr std::string_view kOnceEach =
    "each stage runs each micro-batch with one F, one I for each gradient and one W";

// Everything that one rank's list shows by itself. Walks the lists once.
class ListRules {
 public:
  ListRules(const Schedule& schedule, const std::string& where)
      : schedule_(schedule),
        where_(where),
        with_messages_(has_messages(schedule)),
        cells_(schedule),
        micro_batches_(micro_batches_by_replica(schedule.placement, schedule.num_micro_batches)),
        num_weights_(micro_batches_.size() * static_cast<std::size_t>(schedule.num_stages()), 0),
        reduced_(num_weights_.size(), false),
        updated_(num_weights_.size(), false) {}

  void check() {
    for_each([&](const Action& action) { check_range(action); });
    check_enough_forwards();
    seen_.resize(cells_.num_gradients());
    for_each([&](const Action& action) { check_action(action); });
    check_complete();
  }

 private:
  template <typename Function>
  void for_each(Function function) {
    for (position_.rank = 0; position_.rank < schedule_.num_ranks(); ++position_.rank) {
      const auto& list = schedule_.ranks[static_cast<std::size_t>(position_.rank)];
      position_.index = 0;
      for (const Action& action : list) {
        function(action);
        ++position_.index;
      }
    }
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw_fault(schedule_, where_, position_, what);
  }

  std::string place(const Action& action) const {
    return describe_place(schedule_, action, position_.rank);
  }

  // Kinds without a gradient of their own are in the place of the first.
  KindBits& seen(const Action& action) {
    const bool has_gradient = traits_of(action.kind).names_loss;
    const Action first{ActionKind::BackwardInput, action.stage, action.micro_batch};
    return seen_[cells_.of(has_gradient ? action : first.with_loss(0))];
  }

  std::size_t replica_stage(const Action& action) const {
    return static_cast<std::size_t>(schedule_.placement.replica_of(action.micro_batch)) *
               static_cast<std::size_t>(schedule_.num_stages()) +
           static_cast<std::size_t>(action.stage);
  }

  const std::vector<int>& micro_batches_of(const Action& action) const {
    return micro_batches_[static_cast<std::size_t>(
        schedule_.placement.replica_of(action.micro_batch))];
  }

  bool has_seen(const Action& action) { return (seen(action) & bit(action.kind)) != 0; }

  void check_range(const Action& action) const {
    const int num_stages = schedule_.num_stages();
    const int num_micro_batches = schedule_.num_micro_batches;
    if (action.stage < 0 || action.stage >= num_stages) {
      fail(fmt::format("{} names stage {}; the stages are 0 to {}", to_string(action), action.stage,
                       num_stages - 1));
    }
    if (action.slice != 0) {
      fail(fmt::format("{} names slice {}; a micro-batch here is one, slice 0", to_string(action),
                       action.slice));
    }
    if (action.micro_batch < 0 || action.micro_batch >= num_micro_batches) {
      fail(fmt::format("{} names micro-batch {}; the micro-batches are 0 to {}", to_string(action),
                       action.micro_batch, num_micro_batches - 1));
    }
    check_loss_name(action);
    if (!has_micro_batch(action.kind)) {
      check_closing_range(action);
    }
    const int rank = schedule_.placement.rank_of(action);
    if (rank != position_.rank) {
      fail(fmt::format("{} is on rank {}; stage {} is placed on rank {}", to_string(action),
                       position_.rank, action.stage, rank));
    }
  }

  // A backward or its message names a loss if and only if there are several gradients.
  void check_loss_name(const Action& action) const {
    if (names_right_loss(schedule_, action)) {
      return;
    }
    if (!is_one_of_several(schedule_, action)) {
      fail(fmt::format("{} names a loss, and there is only one such action; write {}",
                       to_string(action), to_string(action.without_loss())));
    }
    const Losses& losses = schedule_.losses;
    const int stage = naming_stage(action);
    const int count = losses.num_gradients(stage);
    if (action.loss == 0) {
      const bool is_whole = action.kind == ActionKind::Backward;
      const Action one = action.as(is_whole ? ActionKind::BackwardInput : action.kind)
                             .with_loss(losses.furthest(action.stage));
      fail(
          fmt::format("{} does not say which of the {} gradients of stage {} it carries; each has "
                      "an action of its own, as {}{}",
                      to_string(action), count, stage, to_string(one),
                      is_whole ? ", and one W is for all" : ""));
    }
    fail(fmt::format(
        "{}: no gradient of a loss on stage {} comes to stage {}; the losses reach as "
        "far down as {}",
        to_string(action), action.stage + action.loss - 1, action.stage, brief_losses(losses)));
  }

  void check_closing_range(const Action& action) const {
    if (action.kind == ActionKind::ReduceGradient && schedule_.placement.num_replicas() < 2) {
      fail(fmt::format("{} sums the gradients of replicas; there is one replica of the weights",
                       to_string(action)));
    }
    if (action.micro_batch != micro_batches_of(action).front()) {
      fail(fmt::format("{} carries micro-batch {}; it is the first of its replica, {}",
                       to_string(action), action.micro_batch, micro_batches_of(action).front()));
    }
  }

  // A hostile text can name 2^20 stages and micro-batches in two cells. So the table of all pairs
  // is allocated only after this check that there are enough actions to fill it.
  void check_enough_forwards() {
    std::vector<std::int64_t> counts(static_cast<std::size_t>(schedule_.num_stages()), 0);
    for_each([&](const Action& action) {
      counts[static_cast<std::size_t>(action.stage)] += action.kind == ActionKind::Forward ? 1 : 0;
    });
    const auto few = std::find_if(counts.begin(), counts.end(), [&](std::int64_t count) {
      return count < schedule_.num_micro_batches;
    });
    if (few == counts.end()) {
      return;
    }
    const auto stage = static_cast<int>(few - counts.begin());
    std::vector<bool> present(static_cast<std::size_t>(*few) + 1, false);
    for_each([&](const Action& action) {
      const auto micro_batch = static_cast<std::size_t>(action.micro_batch);
      if (action.kind == ActionKind::Forward && action.stage == stage &&
          micro_batch < present.size()) {
        present[micro_batch] = true;
      }
    });
    const auto missing = std::find(present.begin(), present.end(), false) - present.begin();
    fail_missing({ActionKind::Forward, stage, static_cast<int>(missing)},
                 schedule_.losses.names_losses(stage) ? kOnceEach : kOnce);
  }

  [[noreturn]] void fail_missing(const Action& action, std::string_view reason) {
    position_.rank = schedule_.placement.rank_of(action);
    const auto& list = schedule_.ranks[static_cast<std::size_t>(position_.rank)];
    position_.index = static_cast<int>(list.size());
    fail(fmt::format("the list ends and {} is missing; {}", to_string(action), reason));
  }

  void check_action(const Action& action) {
    if (!has_micro_batch(action.kind)) {
      check_closing(action);
      return;
    }
    check_once(action);
    if (is_message(action.kind)) {
      check_message(action);
    } else if (action.kind != ActionKind::Forward) {
      require_backward_exists(action, "it has F alone");
    }
    check_inputs(action);
    if (adds_weight_gradient(action.kind)) {
      ++num_weights_[replica_stage(action)];
    }
    seen(action) = static_cast<KindBits>(seen(action) | bit(action.kind));
  }

  // For U and REDUCE_GRAD.
  void check_closing(const Action& action) {
    require_backward_exists(action, "its weights stay as they are");
    const bool is_update = action.kind == ActionKind::Update;
    const std::size_t at = replica_stage(action);
    std::vector<bool>& closed = is_update ? updated_ : reduced_;
    if (closed[at]) {
      fail(fmt::format("{} comes a second time (first at {}); a step {} a stage once",
                       to_string(action), place(action), is_update ? "updates" : "reduces"));
    }
    const std::size_t num_needed = micro_batches_of(action).size();
    if (static_cast<std::size_t>(num_weights_[at]) != num_needed) {
      fail(fmt::format("{} comes after {} of {} weight gradients of stage {}; {} needs all",
                       to_string(action), num_weights_[at], num_needed, action.stage,
                       is_update ? "an update" : "a reduction"));
    }
    if (is_update && micro_batches_.size() > 1 && !reduced_[at]) {
      const Action reduction = action.as(ActionKind::ReduceGradient);
      fail(
          fmt::format("{} comes before {} ({}); an update of replicas needs the sum of their "
                      "gradients",
                      to_string(action), to_string(reduction), place(reduction)));
    }
    closed[at] = true;
  }

  void check_once(const Action& action) {
    const std::string_view once = schedule_.losses.names_losses(action.stage) ? kOnceEach : kOnce;
    if (has_seen(action)) {
      fail(fmt::format("{} comes a second time (first at {}); {}", to_string(action), place(action),
                       is_message(action.kind) ? "each tensor crosses once" : once));
    }
    const bool is_full = action.kind == ActionKind::Backward;
    const bool is_half =
        action.kind == ActionKind::BackwardInput || action.kind == ActionKind::BackwardWeight;
    const auto came = [&](ActionKind kind) { return (seen(action) & bit(kind)) != 0; };
    if ((is_full && (came(ActionKind::BackwardInput) || came(ActionKind::BackwardWeight))) ||
        (is_half && came(ActionKind::Backward))) {
      fail(fmt::format("{} computes a backward that the rank already has, whole or in part; {}",
                       to_string(action), once));
    }
  }

  void check_message(const Action& message) {
    const std::optional<int> other = other_stage(schedule_.placement, message);
    if (!other) {
      fail(fmt::format("{} has no other end; the stages are 0 to {}", to_string(message),
                       schedule_.num_stages() - 1));
    }
    if (schedule_.placement.rank_of(counterpart(message)) == position_.rank) {
      fail(
          fmt::format("{} stays on rank {}, which holds stage {} too; only tensors between ranks "
                      "are sent",
                      to_string(message), position_.rank, *other));
    }
    const int upper = std::max(message.stage, *other);
    if (!is_forward(message.kind) && !crosses(message)) {
      fail(
          fmt::format("{}: no gradient crosses from stage {} to stage {}; the losses reach as far "
                      "down as {}",
                      to_string(message), upper, upper - 1, brief_losses(schedule_.losses)));
    }
  }

  bool crosses(const Action& gradient) const {
    const Action sent = is_send(gradient.kind) ? gradient : counterpart(gradient);
    return gives_to_neighbor(schedule_, sent.as(ActionKind::BackwardInput));
  }

  // What an action takes on its own rank comes before it, and so does the receive of what it takes
  // from another rank.
  void check_inputs(const Action& action) {
    for (const Action& input : inputs_of(schedule_, action)) {
      if (input.stage == action.stage || schedule_.placement.rank_of(input) == position_.rank) {
        if (!has_seen(input)) {
          check_unseen(action, input);
        }
      } else if (with_messages_ && !has_seen(receive_for(schedule_, action))) {
        require_before(action, receive_for(schedule_, action),
                       "a tensor is received before it is used");
      }
    }
  }

  void check_unseen(const Action& action, const Action& input) {
    const bool is_forward = input.kind == ActionKind::Forward;
    if (is_send(action.kind)) {
      require_before(action, input,
                     is_forward ? "an activation is made before it is sent"
                                : "a gradient is made before it is sent");
    } else if (input.stage != action.stage) {
      require_before(action, input, "it takes that stage's tensor");
    } else if (action.kind == ActionKind::BackwardInput && !is_forward) {
      require_before(action, input, "gradients of nearer losses pass first");
    } else {
      require_before(action, input,
                     is_forward ? "a backward needs its forward first"
                                : "a weight gradient needs its input gradient first");
    }
  }

  void require_backward_exists(const Action& action, std::string_view consequence) const {
    if (!schedule_.losses.has_backward(action.stage)) {
      fail(fmt::format(
          "{}: stage {} has no loss and no gradient reaches it, so {}; the losses "
          "reach as far down as {}",
          to_string(action), action.stage, consequence, brief_losses(schedule_.losses)));
    }
  }

  // If another stage or a send takes the result of an I, a B will do as well.
  void require_before(const Action& action, const Action& needed, std::string_view reason) {
    const bool may_be_whole = needed.kind == ActionKind::BackwardInput && needed.loss == 0 &&
                              (needed.stage != action.stage || is_send(action.kind));
    const Action whole = needed.as(ActionKind::Backward).without_loss();
    if (may_be_whole && has_seen(whole)) {
      return;
    }
    const Action& missed = may_be_whole && place(whole) != "missing" ? whole : needed;
    fail(fmt::format("{} comes before {} ({}); {}", to_string(action), to_string(missed),
                     place(missed), reason));
  }

  void check_complete() {
    for (int stage = 0; stage < schedule_.num_stages(); ++stage) {
      for (int micro_batch = 0; micro_batch < schedule_.num_micro_batches; ++micro_batch) {
        check_complete_pair(stage, micro_batch);
      }
    }
    check_all_closed(ActionKind::ReduceGradient, reduced_);
    check_all_closed(ActionKind::Update, updated_);
  }

  void check_all_closed(ActionKind kind, const std::vector<bool>& closed) {
    if (std::find(closed.begin(), closed.end(), true) == closed.end()) {
      return;
    }
    for (const std::vector<int>& micro_batches : micro_batches_) {
      for (int stage = 0; stage < schedule_.num_stages(); ++stage) {
        const Action closing{kind, stage, micro_batches.front()};
        if (!closed[replica_stage(closing)] && schedule_.losses.has_backward(stage)) {
          fail_missing(closing,
                       kind == ActionKind::Update
                           ? "all stages that train are updated, or none is"
                           : "every replica of a stage that trains is reduced, or none is");
        }
      }
    }
  }

  void require_present(const Action& action, std::string_view reason) {
    if (!has_seen(action)) {
      fail_missing(action, reason);
    }
  }

  // With the send that follows from it.
  void require_computed(const Action& action) {
    require_present(action, schedule_.losses.names_losses(action.stage) ? kOnceEach : kOnce);
    const auto send = resulting_send(schedule_, action);
    if (with_messages_ && send) {
      require_present(*send, "the next rank waits for it");
    }
  }

  void check_complete_pair(int stage, int micro_batch) {
    require_computed({ActionKind::Forward, stage, micro_batch});
    const Action input{ActionKind::BackwardInput, stage, micro_batch};
    if (has_seen(Action{ActionKind::Backward, stage, micro_batch})) {
      require_computed({ActionKind::Backward, stage, micro_batch});
    } else if (schedule_.losses.has_backward(stage)) {
      for (const Action& one : inputs_for_all(schedule_.losses, input)) {
        require_computed(one);
      }
      require_present(input.as(ActionKind::BackwardWeight),
                      schedule_.losses.names_losses(stage) ? kOnceEach : kOnce);
    }
  }

  const Schedule& schedule_;
  const std::string& where_;
  bool with_messages_;
  TensorCells cells_;
  Position position_;
  std::vector<KindBits> seen_;                   // by gradient: bits of the kinds seen so far
  std::vector<std::vector<int>> micro_batches_;  // by replica
  std::vector<int> num_weights_;                 // by replica and stage
  std::vector<bool> reduced_;                    // by replica and stage: REDUCE_GRAD seen
  std::vector<bool> updated_;                    // by replica and stage: U seen
};

using ChannelSends = std::vector<std::vector<Action>>;

ChannelSends sends_by_channel(const Schedule& schedule, const Channels& channels) {
  ChannelSends sends(static_cast<std::size_t>(channels.count()));
  for (const auto& list : schedule.ranks) {
    for (const Action& action : list) {
      if (is_send(action.kind)) {
        sends[static_cast<std::size_t>(channels.of(action))].push_back(action);
      }
    }
  }
  return sends;
}

}  // namespace

namespace detail {

void check_lists(const Schedule& schedule, const std::string& where) {
  ListRules(schedule, where).check();
}

void check_channel_order(const Schedule& schedule, const std::string& where) {
  const Channels channels(schedule.placement);
  const ChannelSends sends = sends_by_channel(schedule, channels);
  std::vector<std::size_t> num_received(sends.size(), 0);
  // Lists are complete and without duplicates, so each channel has as many receives as sends.
  const auto check = [&](Position place, const Action& receive) {
    const auto channel = static_cast<std::size_t>(channels.of(receive));
    const std::size_t number = num_received[channel]++;
    const Action& sent = sends[channel][number];
    if (sent != counterpart(receive)) {
      throw_fault(
          schedule, where, place,
          fmt::format(
              "{} is receive {} from rank {}, but send {} there is {} ({}); a channel keeps "
              "its order",
              to_string(receive), number, schedule.placement.rank_of(sent), number, to_string(sent),
              describe_place(schedule, sent, schedule.placement.rank_of(receive))));
    }
  };
  for (int rank = 0; rank < schedule.num_ranks(); ++rank) {
    Position place{rank, 0};
    for (const Action& action : schedule.ranks[static_cast<std::size_t>(rank)]) {
      if (is_receive(action.kind)) {
        check(place, action);
      }
      ++place.index;
    }
  }
}

}  // namespace detail

}  // namespace halfback
