// The options of a pipeline, and the checks on them.
#pragma once

#include "halfback/engine/stage_update.h"
#include "halfback/schedule/schedule.h"

#include <cstdint>

namespace halfback {

inline constexpr std::int64_t kDefaultHeadRefresh = 10;

struct PipelineOptions {
  // -- Options that decide the results

  // Optimizer, seed of random masks, types and device of every stage. A device without an index
  // assigns ranks round-robin to all devices of its kind. The fields about shards and gradient
  // groups are set from those below.
  Stage::Options stage;

  // Loss scale and clipping. Neither, by default.
  UpdateOptions update;

  // The number of contiguous blocks of micro-batches whose gradients are summed separately and then
  // added pairwise: the number of replicas times a power of two. 0 means one for each replica. With
  // more, results have the bits of as many replicas, and each replica holds the partial sums of its
  // blocks.
  int gradient_groups = 0;

  // Heads that read a copy of the output matrix (LossLayer::output_matrix) get its values before
  // the first step and after every so many steps. Without such heads it has no meaning.
  std::int64_t head_refresh = kDefaultHeadRefresh;

  // -- Options that decide speed and cost

  // Whether each replica holds only an equal part of the optimizer's state, updates that part of
  // the parameters and sends it to the others (ZeRO stage 1: Rajbhandari et al., arXiv:1910.02054).
  // This divides the memory of the state by the number of replicas, and a step sends half as much
  // again.
  bool shards_optimizer = false;

  // Threads that operators of one rank may use; 0: an equal share of the cores. More threads than
  // cores make every rank slower.
  int threads_per_rank = 1;

  // How long a rank may wait for another. A higher value detects a hang later. One below the time
  // of the slowest action ends healthy runs, and over several processes one below the time of a
  // step.
  double timeout_seconds = 60.0;

  // False for a library in somebody else's process: it changes nothing of the process, so bytes are
  // not counted and initialize_runtime() is left to the caller, and one rank runs on the thread
  // that waits for its steps, as code of the caller that it calls may expect. More ranks have
  // threads.
  bool owns_process = true;

  // What to add to now_seconds() here to get that of the first process. Only spans and reports use
  // it.
  double clock_offset_seconds = 0.0;
};

// Throws ConfigError for a value out of range, naming its command line option.
void check(const PipelineOptions& options);

// Throws ConfigError for updates inside the step that need the gradient norm of the whole model.
void check_updates(const Schedule& schedule, const UpdateOptions& update);

}  // namespace halfback
