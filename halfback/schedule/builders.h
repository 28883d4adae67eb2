// The schedule families, one declaration each; their sources are one file a family. All place
// stage s on rank s. families.h is the table that the command line reads.
//
// N ranks, M micro-batches, rank r = 0..N-1, k x = repeated k times. With two_stage off each (I, W)
// is one B, and what is said of W does not apply. F, I and W of a stage ascend in the micro-batch.
// Bubble = idle time over step time, for F = I = W = 1 and no communication. Peaks are in
// micro-batches: "until I" and "until W" count what F keeps for either, "G" the gradients kept
// from I to W.
//
// Source of the orders: Rae, Lee, Richings, "2BP: 2-Stage Backpropagation", arXiv 2405.18047, with
// the order inside the cool-down as in its authors' code.
#pragma once

#include "halfback/schedule/schedule.h"

namespace halfback {

struct PipelineShape {
  int num_ranks = 0;
  int num_micro_batches = 0;
  bool two_stage = true;
};

// Returns F, I, W on each rank, for the whole mini-batch as one micro-batch: M = 1, else
// ConfigError. Bubble 2(N-1)/(2N+1), off (N-1)/N.
Schedule build_naive(const PipelineShape& shape);

// Returns M x F, M x I, M x W. Any M.
// Bubble at M = N 2(N-1)/(5N-2), off (N-1)/(2N-1). Peaks: until I M, until W M, G M.
// Source: Huang et al., "GPipe", NeurIPS 2019, arXiv 1811.06965.
Schedule build_gpipe(const PipelineShape& shape);

// Returns k x F; (M-k) x (I, F); k x (I, W of the oldest); the W left; with k = min(N-r, M).
// Any M, also M < N. Peaks: until I k, until W M, G M-k+1; off: until I and until W k.
// Source of the order: Narayanan et al., "PipeDream", SOSP 2019, arXiv 1806.03377.
Schedule build_one_f_one_b(const PipelineShape& shape);

// Returns 1f1b with M = N, else ConfigError. Bubble (N-1)/(4N-1), off (N-1)/(2N-1).
Schedule build_one_f_one_b_1(const PipelineShape& shape);

// Returns 1f1b with M = 2N, else ConfigError. Bubble (N-1)/(7N-1), off (N-1)/(3N-1).
// Peaks at rank r: until I N-r, until W 2N, G N+r+1.
Schedule build_one_f_one_b_2(const PipelineShape& shape);

// Returns 1f1b-2 with all N pending W right after the rank's N-th I: (N-r) x F; (N-1) x (I, F); I;
// N x W; F; r x (I, F); (N-r) x (I, W of the oldest); the W left. On rank 0 that last F of the
// first half closes the steady phase. Two-stage and M = 2N, else ConfigError.
// Same step time as 1f1b-2. Peaks at rank r: until I N-r, until W 2N-1-r, G N.
// Not in the paper.
Schedule build_one_f_one_b_2_flush(const PipelineShape& shape);

// Returns 1f1b-2 with a W of the oldest after each I that leaves more than r pending on rank r, so
// (N-r) x F; r x (I, F); N x (I, W, F); (N-r) x (I, W); r x W. Two-stage and M = 2N, else
// ConfigError. Same step time as 1f1b-2. Peaks at rank r: until I N-r, until W N, G r+1.
// Not in the paper; the cap is that of ZB-H1, Qi et al., "Zero Bubble Pipeline Parallelism",
// ICLR 2024, arXiv 2401.10241.
Schedule build_one_f_one_b_2_capped(const PipelineShape& shape);

}  // namespace halfback
