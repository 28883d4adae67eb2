// The rules that make a schedule runnable, with or without messages:
//
//   shape     every stage on a rank that exists, every rank with a stage, indices in range; with
//             several replicas, all of the same stages, each with a micro-batch, one for each
//             micro-batch, and no two replicas of a stage on one rank
//   once      each stage runs each micro-batch: one F and either one B or one I and one W; F alone
//             where no gradient reaches the stage
//   place     a stage computes, sends and receives on its own rank only, for a micro-batch of
//             several replicas that of its replica
//   order     on a rank F before I before W; U after all of its stage; a stage after the stage
//             that it takes from, where one rank holds both; what F kept is so freed at the end
//   reduce    with several replicas, REDUCE_GRAD of each replica of a stage once, after all its
//   weight
//             gradients, or none at all: then it comes after the last action; with one, none
//   messages  (if there are any) each tensor that crosses ranks is sent once, after it is made, and
//             received once, before it is taken; the k-th send of a channel is its k-th receive;
//             no gradient crosses where a cut is
//   memory    no rank holds more micro-batches between F and W than a limit that was given
//   progress  no set of ranks waits for each other, under the channel rule
//
// The first fault is named with rank, position (0-based), action and the lists around it; ranks
// that wait for each other with a sentence each.
#pragma once

#include "halfback/schedule/dry_run.h"
#include "halfback/schedule/schedule.h"

#include <optional>
#include <string>

namespace halfback {

struct ValidateOptions {
  ChannelRule channel = kBuffered;
  std::string where = "schedule";  // front of every message, for instance a file name
  // Activations that a rank may hold until W, in M_B: what one micro-batch keeps on 1/N of the
  // model.
  std::optional<double> activation_limit = {};
};

// Throws ScheduleError for the first fault: "where: what", then lines with the lists around it.
// Linear in the number of actions; memory too.
void validate(const Schedule& schedule, const ValidateOptions& options = {});

// Returns the smallest channel capacity under which a schedule runs to its end; 0 is rendezvous. A
// schedule without messages is taken with those of add_communication(). Throws as validate(), also
// for a schedule that only streams let run.
int smallest_channel_capacity(const Schedule& schedule);

}  // namespace halfback
