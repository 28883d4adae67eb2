// The schedule families, one declaration each. Their sources are in families/, one file for a
// family or a few similar ones. families.h is the table that the command line reads.
//
// N ranks, M micro-batches, rank r = 0..N-1, v stages on each rank; k x = repeated k times. With
// two_stage off, each (I, W) is one B, and statements about W do not apply. F, I and W of a stage
// ascend in the micro-batch. Idle is the step time minus the work of a rank, without communication;
// f, i and w are the times of F, I and W on 1/N of the model, and a stage takes 1/v of them. Peaks
// are in M_B, the memory that a micro-batch keeps on 1/N of the model: "until I" and "until W"
// count what F keeps for each, "G" the gradients kept from I to W; "peak" is until W.
//
// Source of the first orders: Rae, Lee, Richings, "2BP: 2-Stage Backpropagation", arXiv
// 2405.18047, with the cool-down order of its authors' code.
#pragma once

#include "halfback/schedule/schedule.h"
#include "halfback/schedule/search/task_graph.h"

#include <optional>

namespace halfback {

// The shape that a schedule is built for. Only some families take the members after two_stage:
// build_schedule() in families.h replaces 0 by the family's own choice, and refuses a member that
// the family does not take.
struct PipelineShape {
  int num_ranks = 0;
  int num_micro_batches = 0;
  bool two_stage = true;
  int stages_per_rank = 0;
  int group_size = 0;              // micro-batches that pass one stage of a rank before the next
  double memory_limit = 0.0;       // of each rank, in M_B until W
  double released_at_input = 0.0;  // the part of M_B that I frees, 0 to 1
  ShareTimes times = {};           // the times that searches optimize for
  int chunks = 0;                  // groups of stages, each with a loss on top
  int window = 0;                  // stages that a loss's gradient passes
  int distance = 0;                // stages below its own that it passes
  int trained = 0;                 // last stages, which train
  std::optional<bool> stage_updates = std::nullopt;  // U after the last W or B of each stage
};

// Returns F, I, W on each rank, with the whole mini-batch as one micro-batch: M = 1, else
// ConfigError. Bubble 2(N-1)/(2N+1), off (N-1)/N.
Schedule build_naive(const PipelineShape& shape);

// Returns M x F, M x I, M x W. Any M.
// Bubble at M = N 2(N-1)/(5N-2), off (N-1)/(2N-1). Peaks: until I M, until W M, G M.
// Source: Huang et al., "GPipe", NeurIPS 2019, arXiv 1811.06965.
Schedule build_gpipe(const PipelineShape& shape);

// Returns k x F; (M-k) x (I, F); k x (I, W of the oldest); the remaining W; with k = min(N-r, M).
// Any M, also M < N. Idle (N-1) max(f, i, f+i-w) at M >= N, off (N-1)(f+i+w).
// Peaks: until I k, until W M, G M-k+1; off: until I and until W k.
// Source of the order: Narayanan et al., "PipeDream", SOSP 2019, arXiv 1806.03377.
Schedule build_one_f_one_b(const PipelineShape& shape);

// Returns 1f1b with M = N, else ConfigError. Bubble (N-1)/(4N-1), off (N-1)/(2N-1).
Schedule build_one_f_one_b_1(const PipelineShape& shape);

// Returns 1f1b with M = 2N, else ConfigError. Bubble (N-1)/(7N-1), off (N-1)/(3N-1).
// Peaks at rank r: until I N-r, until W 2N, G N+r+1.
Schedule build_one_f_one_b_2(const PipelineShape& shape);

// Returns 1f1b-2 with all N pending W right after the rank's N-th I: (N-r) x F; (N-1) x (I, F); I;
// N x W; F; r x (I, F); (N-r) x (I, W of the oldest); the remaining W. On rank 0 that single F ends
// the steady phase. Two-stage and M = 2N, else ConfigError.
// Same step time as 1f1b-2. Peaks at rank r: until I N-r, until W 2N-1-r, G N.
// Not in the paper.
Schedule build_one_f_one_b_2_flush(const PipelineShape& shape);

// Returns 1f1b-2 with the oldest W after each I that leaves more than r of them pending on rank r:
// (N-r) x F; r x (I, F); N x (I, W, F); (N-r) x (I, W); r x W. Two-stage and M = 2N, else
// ConfigError. Same step time as 1f1b-2. Peaks at rank r: until I N-r, until W N, G r+1. Not in the
// paper; the cap is that of ZB-H1, Qi et al., "Zero Bubble Pipeline Parallelism", ICLR 2024, arXiv
// 2401.10241.
Schedule build_one_f_one_b_2_capped(const PipelineShape& shape);

// Returns 1f1b in which W follows the rank's r-th later I, so that no rank holds more than in 1f1b
// with B: (N-r) x F; r x (I, F); then (I, W of the oldest, F) until no F is left; (N-r) x (I, W); r
// x W. Any M; split backward. Idle (N-1) max(f, i, f+i-w) at M >= N, peak min(N, M). Source: Qi et
// al., "Zero Bubble Pipeline Parallelism", ICLR 2024, arXiv 2401.10241 (ZB-H1).
Schedule build_zb_h1(const PipelineShape& shape);

// Returns the same with 2(N-r)-1 forwards before the first I, and W after the rank's 2r-th later I.
// Any M; split backward. Idle of each rank (N-1)(f+i-2w), from its own start to its own end (M >=
// 2N-1); peak min(2N-1, M). Source: as ZB-H1 (ZB-H2).
Schedule build_zb_h2(const PipelineShape& shape);

// Returns the best order that a search finds for these times, with one stage per rank (or v,
// looped): the shortest stage step within the memory limit, or within N. Any M; split backward. At
// f = i = w, M >= 2N and a limit of 2N-1, no rank is idle from its start to its end.
// Source of the idea: as ZB-H1, its automatic schedules ZB-1p (limit N) and ZB-2p (limit 2N).
Schedule build_zb_auto(const PipelineShape& shape);

// Returns Megatron's interleaved order over looped stages, v on each rank (2). Groups of
// micro-batches pass stage after stage of a rank: N in each, or M shared evenly by M / N groups,
// rounded down. 2(N-r-1)+(v-1)N+1 forwards before the first backward; W right after its I. Any M.
// Idle (N-1)(f+i)/v, off (N-1)(f+i+w)/v; peak ((v-1)N+2N-1)/v; messages v times those of 1f1b.
// Source: Narayanan et al., "Efficient Large-Scale Language Model Training on GPU Clusters Using
// Megatron-LM", SC 2021, arXiv 2104.04473.
Schedule build_interleaved(const PipelineShape& shape);

// Returns the size of its largest group, at least `group_size` if M allows.
int largest_group(int num_micro_batches, int group_size);

// Returns the interleaved order in groups of g micro-batches, (N+1)/2 to N (N), with (v-1)g+N-r
// forwards before the first backward. Any M.
// Idle (N-1)(f+i)/v + (N-g)(v-1)/v f; peak ((v-1)g+N)/v.
// Source: Wan et al., "PipeOffload: Improving Scalability of Pipeline Parallelism with Memory
// Optimization", ICML 2025, arXiv 2503.01328 (generalized interleaved schedule, GIS).
Schedule build_gis(const PipelineShape& shape);

// Returns gpipe over looped stages, v on each rank (2): all micro-batches pass one stage of a rank
// before the next; all W come last. Any M. Idle (N-1)(f+i)/v at M >= N, off (N-1)(f+i+w)/v; peak M.
// Source: Lamy-Poirier, "Breadth-First Pipeline Parallelism", MLSys 2023, arXiv 2211.05953.
Schedule build_looped_bfs(const PipelineShape& shape);

// The V placement has stages r and 2N-1-r on rank r. Source of the next five: Qi et al., "Pipeline
// Parallelism with Controllable Memory", NeurIPS 2024, arXiv 2405.15362.

// The memory of the next families on N ranks, in M_B.
double v_half_memory(int num_ranks);
double v_min_memory(int num_ranks);
double one_f_one_b_v_memory(int num_ranks);

// Returns the best order that a search finds for these times over a V, within a memory of N: no
// rank is idle from its start to its end at f = i = w and M >= 2N. Any M; split backward.
Schedule build_zb_v(const PipelineShape& shape);

// Returns the same for the shortest step within a memory of (N+2)/2, rounded down. Idle (3N-7)/2 f,
// (3N-4)/2 f for odd N, at f = i = w.
Schedule build_v_half(const PipelineShape& shape);

// Returns the stable pattern of the paper, repeated every six half-slots: F at r and 2N-1-r, I at
// 2N+c+r and 4N+c-r-1 with c = 2 if 3 divides N, else 0, W in the next free ones. The first and the
// last micro-batch have c = 0 (this project's own). Any M; split backward. Peak (N+4)/3, rounded
// down; idle 2N-5/2 f, 2N-7/2 f where 3 divides N and M >= 2, at f = i = w.
Schedule build_v_min(const PipelineShape& shape);

// Returns the result of the same search within the given memory limit, 1 to N (N). It is never
// worse than v-min if that fits. At f = i = w, M >= 2N and a limit of k/2 with N <= k <= 2N-2, a
// rank's idle time is (6N-1-3k)/2 f.
Schedule build_v_search(const PipelineShape& shape);

// Returns the result of the search over a V for a fused backward: about 2/3 of 1f1b's memory,
// (4N/3+2)/2 with 4N/3 rounded down. Any M.
Schedule build_one_f_one_b_v(const PipelineShape& shape);

// Returns the best order that a search finds over v stages per rank (4), looped or in a wave,
// within a memory of N or the given limit. Any M; split backward. Idle (N-1)/v f at f = i = w and M
// = N: the minimum with one replica of the weights, because the last rank cannot start sooner. This
// project's own.
Schedule build_zb_looped(const PipelineShape& shape);
Schedule build_zb_wave(const PipelineShape& shape);

// Returns the best order that a search finds over W waves, v = 2W stages per rank (2), within a
// memory of N. Any M. Idle (N-1)/v f at f = i = w.
// Source: Liu et al., "Hanayo: Harnessing Wave-like Pipeline Parallelism for Enhanced Large Model
// Training Efficiency", SC 2023, arXiv 2308.15762.
Schedule build_hanayo(const PipelineShape& shape);

// The next families have two replicas of the weights, the second on the ranks in reverse order. The
// first half of the micro-batches passes the first replica, the others the second; they enter
// alternately. REDUCE_GRAD follows the last W or B of each stage.

// Returns the best order that a search finds for two pipelines of N stages in opposite directions,
// within a memory of N. N even, M even. Idle (N/2-1) f at f = i = w, (N-2) f with two_stage off and
// f = i+w.
// Source: Li, Hoefler, "Chimera: Efficiently Training Large-Scale Neural Networks with
// Bidirectional Pipelines", SC 2021, arXiv 2107.06925.
Schedule build_chimera(const PipelineShape& shape);

// Returns the eight phases of DualPipe; where these do not split the backward, it stays B. N even,
// M even and at least 2N. Idle (N/2-1)(f + 2(i+w) - 3w) with F before B in each pair, peak N+1.
// Source: DeepSeek-AI, "DeepSeek-V3 Technical Report", arXiv 2412.19437, and its authors' code.
Schedule build_dualpipe(const PipelineShape& shape);

// Returns the same phases over a V and one replica of the weights. M at least 2N. Peak N+1/2.
Schedule build_dualpipe_v(const PipelineShape& shape);

// Returns two V placements in opposite directions, with the orders of the paper's code; W right
// after its I. N even and at least 4, M a multiple of N. Peak N. At M = kN idle (N-2)/2 f where
// f = i+w, (k+1)(N/2-1) f where 2f = i+w, with two_stage off.
// Source: Wu, Chen, Yu, "BitPipe: Bidirectional Interleaved Pipeline Parallelism for Accelerating
// Large Models Training", arXiv 2410.19367.
Schedule build_bitpipe(const PipelineShape& shape);

// Returns bitpipe with each W where its rank would wait for longer than W takes, or where memory
// would exceed N. Split backward. Idle (N-2)/4 f at f = i = w: the middle ranks cannot start
// sooner.
// This project's own.
Schedule build_bitpipe_split(const PipelineShape& shape);

// The next families train with local updates (losses.h), one stage per rank. Each stage runs 1f1b
// over the stages that its backward waits for, with W as in zb-h1. If W takes a gradient that I
// does not wait for, it runs one I later. Any M. With U after its last W or B, a rank does not wait
// for the updates of others, and R steps idle as long as one.

// Returns a schedule with a loss on each stage, whose gradient stays there: F, I, W in turn. R
// steps take (N-1) f + R M (f+i+w). Peak 1.
// Source: Belilovsky et al., "Decoupled Greedy Learning of CNNs", ICML 2020, arXiv 1901.08164, and
// Laskin et al., as in losses.h.
Schedule build_local_greedy(const PipelineShape& shape);

// Returns a schedule with a loss on top of each of K chunks of stages, 1 to N (2), whose gradient
// stays in the chunk. With K = 1 it is zb-h1, off 1f1b. Peak min(M, size of the largest chunk).
// Source: Laskin et al. (chunked).
Schedule build_local_chunked(const PipelineShape& shape);

// Returns a schedule with a loss on each stage from w-1 on, whose gradient passes w stages, 1 to N
// (2). Weights take the sum of the gradients that pass them. With w = 2, only the I of stage 0
// waits for a stage above, while every W does; peak 2. With larger w, or with two_stage off,
// gradients pass through a stage, and the order and peak are those of backprop. With w = N it is
// zb-h1, off 1f1b.
// Source: Laskin et al. (overlapping), after Xiong et al., "LoCo", NeurIPS 2020.
Schedule build_local_overlapping(const PipelineShape& shape);

// Returns a schedule with a loss on each stage, whose gradient goes down by d stages, 1 to N-1 (1):
// pairwise or (d+1)-wise. Weights take only the gradient of the furthest loss, and the d lowest
// losses (except the last stage's) train only their heads. Order and peak are those of overlapping
// windows of d+1; with d = N-1, each action waits for the same as in backprop.
// Source: Gomez, Key et al., as in losses.h.
Schedule build_local_interlocking(const PipelineShape& shape);

// Returns backprop through the last k stages, 1 to N (1); the stages below run only F and do not
// change. Peak min(M, k).
Schedule build_local_last(const PipelineShape& shape);

}  // namespace halfback
