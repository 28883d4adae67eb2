// Functions from schedule to schedule. None changes its argument; all are linear in the number of
// actions.
#pragma once

#include "halfback/schedule/schedule.h"

namespace halfback {

// Returns the schedule with the micro-batches renumbered replica by replica, from the first replica
// on. The lists keep their order.
Schedule number_by_replica(const Schedule& schedule);

// Returns the schedule with REDUCE_GRAD for each replica of a stage right after its last W or B
// (and the sends that follow directly), so that the sum over the replicas overlaps with what the
// rank still computes: the "eager gradient synchronization" of Chimera and BitPipe. A schedule with
// one replica, or with a REDUCE_GRAD already, stays unchanged.
Schedule add_gradient_reductions(const Schedule& schedule);

// Returns `num_pipelines` copies of the schedule side by side, as replicas of the weights that
// share the step: pipeline d has the d-th block of ranks and the d-th block of micro-batches, so 2
// pipelines have twice the ranks and twice the micro-batches. Replicas within the schedule remain
// in each pipeline. Includes add_gradient_reductions(), and add_updates() if the schedule has U.
// Throws ConfigError for a number below 1, for more than kMaxIndex ranks or micro-batches, and for
// more than kMaxActions actions.
Schedule data_parallel(const Schedule& schedule, int num_pipelines);

// Returns the schedule with U right after the last W or B of each stage, so that a stage can start
// its next step as soon as its own step is done. With several replicas of the weights, whose
// gradients are summed before an update, it includes add_gradient_reductions() and puts U at the
// end of each list, so that the sums overlap with what the rank still computes. Throws ConfigError
// for a schedule that has U.
Schedule add_updates(const Schedule& schedule);

// Returns several steps back to back, with consecutive micro-batch numbers: each list is repeated.
// For simulation; not valid as one step. Throws ConfigError unless the schedule has U, which says
// when a stage is ready for its next step, and for more than kMaxIndex micro-batches in total.
Schedule repeat_steps(const Schedule& schedule, int num_steps);

// Returns only F, with messages, over the placement of the schedule, for any number of
// micro-batches: stage s takes micro-batch b at tick s + b. It uses the first replica only. For
// evaluation; not valid for training.
Schedule forward_only(const Schedule& schedule, int num_micro_batches);

// Returns the schedule with other losses: without the backward of stages that no loss trains. It
// has no messages and no losses of its own yet. Throws ScheduleError for losses that it cannot
// have.
Schedule with_losses(const Schedule& schedule, const Losses& losses);

// Returns a schedule of all stages on one rank, by the same losses: one micro-batch after the
// other, F of all stages, then I of all stages, then W.
Schedule on_one_rank(const Schedule& schedule);

}  // namespace halfback
