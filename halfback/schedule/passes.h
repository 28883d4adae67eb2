// Functions from schedule to schedule. None changes its argument; all are linear in the number of
// actions.
#pragma once

#include "halfback/schedule/schedule.h"

namespace halfback {

// Returns the schedule with B for each I directly followed by its own W.
Schedule merge_backward(const Schedule& schedule);

// Returns the schedule with I, W for each B.
Schedule split_backward(const Schedule& schedule);

// Returns the schedule with the micro-batches of each replica named one after the other, those of
// the first replica first. The lists keep their order.
Schedule number_by_replica(const Schedule& schedule);

// Returns the schedule with REDUCE_GRAD for each copy of a stage right after its last W or B (and
// the sends that follow at once), so that the sum over the replicas hides behind what the rank
// still computes: "eager gradient synchronization" of Chimera and BitPipe. Unchanged where there is
// one replica, or a REDUCE_GRAD already.
Schedule add_gradient_reductions(const Schedule& schedule);

// Returns `num_pipelines` copies of the schedule side by side, as replicas of the weights that
// share the step: pipeline d has the d-th of as many blocks of ranks and the d-th block of micro-
// batches, so 2 of them have twice the ranks and twice the micro-batches. Replicas that the
// schedule has stay such in each of the pipelines. With add_gradient_reductions(). Throws
// ConfigError for a number below 1, for more than kMaxIndex ranks or micro-batches or kMaxActions,
// and for lists with U.
Schedule data_parallel(const Schedule& schedule, int num_pipelines);

// Returns the schedule with U right after the last W or B of each stage, which so begins its next
// step when its own is done. Throws ConfigError over replicas of the weights, whose gradients are
// summed before an update, and for a schedule that has U.
Schedule add_updates(const Schedule& schedule);

// Returns that many steps back to back, the micro-batches numbered on: each list that often, one
// after the other. For simulation; not valid as one step. Throws ConfigError unless the schedule
// has U, which says when a stage is ready for its next step, and for more than kMaxIndex
// micro-batches in all.
Schedule repeat_steps(const Schedule& schedule, int num_steps);

// Returns F with messages over the placement of the schedule, for any number of micro-batches: a
// wave, in which stage s takes micro-batch b at tick s + b. Of several replicas it uses the first.
// For evaluation; not valid for training.
Schedule forward_only(const Schedule& schedule, int num_micro_batches);

}  // namespace halfback
