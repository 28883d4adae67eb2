// The rules that make a schedule runnable, with or without messages:
//
//   shape     every stage is on an existing rank, every rank has a stage, indices are in range.
//             Several replicas have the same stages; each has a micro-batch, and each micro-batch
//             has one replica. No rank has two replicas of a stage
//   once      each stage runs each micro-batch: one F and either one B or one I and one W; F alone
//             if no gradient reaches the stage
//   place     a stage computes, sends and receives only on its own rank: with several replicas, the
//             rank of the micro-batch's replica
//   order     on a rank, F before I before W; a stage after the stage that it takes from, if one
//             rank holds both. So all that F kept is freed at the end
//   reduce    with several replicas, one REDUCE_GRAD for each replica of a stage, after all its
//             weight gradients, or none at all, which means after the last action; with one
//             replica, none
//   update    one U for each replica of a stage, after all its weight gradients and, with several
//             replicas, after its REDUCE_GRAD, or none at all, which means after the last action
//   messages  (if there are any) each tensor that crosses ranks is sent once, after it is made, and
//             received once, before it is taken; the k-th send of a channel is its k-th receive; no
//             gradient is sent that the losses do not have
//   memory    no rank holds more activations between F and W than a given limit
//   progress  no ranks wait for each other, under the channel rule
//
// The first fault is reported with rank, position (0-based), action and the lists around it; a
// deadlock with one sentence for each of its ranks.
#pragma once

#include "halfback/schedule/dry_run.h"
#include "halfback/schedule/schedule.h"

#include <optional>
#include <string>

namespace halfback {

struct ValidateOptions {
  ChannelRule channel = kBuffered;
  std::string where = "schedule";  // prefix of every error, such as a file name
  // Activations that a rank may hold until W, in M_B (what one micro-batch keeps on 1/N of the
  // model).
  std::optional<double> activation_limit = {};
};

// Throws ScheduleError for the first fault: "where: what", then lines with the lists around it.
// Linear in the number of actions; memory too.
void validate(const Schedule& schedule, const ValidateOptions& options = {});

// Returns the smallest channel capacity under which a schedule runs to its end; 0 is rendezvous. A
// schedule without messages gets those of add_communication(). Throws as validate(), also for a
// schedule that runs only with streams.
int smallest_channel_capacity(const Schedule& schedule);

}  // namespace halfback
