// The options of a pipeline, and what of them is refused.
#pragma once

#include "halfback/engine/stage_update.h"
#include "halfback/schedule/schedule.h"

namespace halfback {

struct PipelineOptions {
  // -- What decides the results

  // Optimizer, seed of random masks, types and device of every stage. A device without an index
  // assigns ranks round-robin to all devices of its kind. The fields about shards and gradient
  // groups are set from those below.
  Stage::Options stage;

  // Loss scale and clipping. Neither, by default.
  UpdateOptions update;

  // Contiguous blocks of the micro-batches whose gradients are summed on their own and then added
  // pairwise: the number of replicas times a power of two. 0: one for each replica. More give the
  // bits that as many replicas would have, and each replica holds the partial sums of its blocks.
  int gradient_groups = 0;

  // -- What decides how fast it is and what it takes

  // Each replica holds an equal part of the optimizer's state, updates that part of the parameters
  // and sends it to the others (ZeRO stage 1: Rajbhandari et al., arXiv:1910.02054). The state
  // takes as many times less memory as there are replicas, and a step sends half as much again.
  bool shards_optimizer = false;

  // Threads that operators of one rank may use; 0: an equal share of the cores. More threads than
  // cores make every rank slower.
  int threads_per_rank = 1;

  // The longest wait of a rank for another. A longer one ends a run that hangs later; one below the
  // time of the slowest action ends runs that are well.
  double timeout_seconds = 60.0;

  // From now_seconds() here to that of the first process. Only spans and reports need it.
  double clock_offset_seconds = 0.0;
};

// Throws ConfigError for a value out of its range, by the name that it has on the command line.
void check(const PipelineOptions& options);

// Throws ScheduleError for updates inside the step that need the gradient norm of the whole model.
void check_updates(const Schedule& schedule, const UpdateOptions& update);

}  // namespace halfback
