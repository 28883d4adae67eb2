// The rows of the table of families.
#include "halfback/schedule/families.h"

#include <algorithm>

namespace halfback {

namespace {

using Shape = PipelineShape;

double at_most(double micro_batches, const Shape& shape) {
  return std::min<double>(micro_batches, shape.num_micro_batches);
}

double all(const Shape& shape) { return shape.num_micro_batches; }
double ranks(const Shape& shape) { return at_most(shape.num_ranks, shape); }
double limit(const Shape& shape) { return at_most(shape.memory_limit, shape); }
double all_or_ranks(const Shape& shape) { return shape.two_stage ? all(shape) : ranks(shape); }

double interleaved(const Shape& shape) {
  const int group = largest_group(shape.num_micro_batches, shape.num_ranks);
  const double stages = shape.stages_per_rank;
  return at_most(((stages - 1) * group + 2 * shape.num_ranks - 1) / stages, shape);
}

double gis(const Shape& shape) {
  const int group = largest_group(shape.num_micro_batches, shape.group_size);
  const double stages = shape.stages_per_rank;
  return at_most(((stages - 1) * group + shape.num_ranks) / stages, shape);
}

double one_f_one_b_v(const Shape& shape) {
  return at_most(one_f_one_b_v_memory(shape.num_ranks), shape);
}
double v_half(const Shape& shape) { return at_most(v_half_memory(shape.num_ranks), shape); }
double v_min(const Shape& shape) { return at_most(v_min_memory(shape.num_ranks), shape); }

double one(const Shape& /*shape*/) { return 1; }
double chunk(const Shape& shape) {
  const int largest = (shape.num_ranks + shape.chunks - 1) / shape.chunks;
  return at_most(largest, shape);
}
double trained(const Shape& shape) { return at_most(shape.trained, shape); }

double overlapping(const Shape& shape) { return at_most(shape.window, shape); }
double interlocking(const Shape& shape) { return at_most(shape.distance + 1, shape); }

// Parameters that several families take, with the natural value if it differs from the row's.
constexpr Family::Taken kLimit = {&Shape::memory_limit};
constexpr Family::Taken kReleased = {&Shape::released_at_input};
constexpr Family::Taken kUpdates = {&Shape::stage_updates, 1};

// Each family has its name, its texts for people, its parameters and its functions.
// clang-format off
std::vector<Family> two_stage_families() {
  return {
      {.name = "naive", .summary = "the whole mini-batch passes the ranks one after the other",
       .conditions = "M = 1", .idle = "2(N-1)", .peak_memory = "1", .paper = "arXiv 2405.18047",
       .micro_batches_per_rank = 0, .builder = build_naive, .peak_of = all},
      {.name = "gpipe", .summary = "all forwards, then all backwards",
       .conditions = "any M", .idle = "2(N-1)", .peak_memory = "M", .paper = "arXiv 1811.06965",
       .builder = build_gpipe, .peak_of = all},
      {.name = "1f1b", .summary = "forwards and backwards alternate; W fills the cool-down",
       .conditions = "any M", .idle = "N-1, M >= N", .peak_memory = "M", .paper = "arXiv 1806.03377, 2405.18047",
       .builder = build_one_f_one_b, .peak_of = all_or_ranks},
      {.name = "1f1b-1", .summary = "1f1b as in 2BP, one micro-batch per rank",
       .conditions = "M = N", .idle = "N-1", .peak_memory = "N", .paper = "arXiv 2405.18047",
       .builder = build_one_f_one_b_1, .peak_of = all},
      {.name = "1f1b-2", .summary = "1f1b as in 2BP, two micro-batches per rank",
       .conditions = "M = 2N", .idle = "N-1", .peak_memory = "2N", .paper = "arXiv 2405.18047",
       .micro_batches_per_rank = 2, .builder = build_one_f_one_b_2, .peak_of = all_or_ranks},
  };
}

std::vector<Family> moved_weight_families() {
  return {
      {.name = "1f1b-2-flush", .summary = "1f1b-2 with one flush of W after N backwards",
       .conditions = "M = 2N, split", .idle = "N-1", .peak_memory = "2N-1",
       .micro_batches_per_rank = 2, .builder = build_one_f_one_b_2_flush,
       .peak_of = [](const Shape& shape) { return 2.0 * shape.num_ranks - 1; }},
      {.name = "1f1b-2-capped", .summary = "1f1b-2 with at most r W pending on rank r",
       .conditions = "M = 2N, split", .idle = "N-1", .peak_memory = "N", .paper = "cap as in arXiv 2401.10241",
       .micro_batches_per_rank = 2, .builder = build_one_f_one_b_2_capped, .peak_of = ranks},
      {.name = "zb-h1", .summary = "1f1b with W so late that memory stays that of 1f1b with B",
       .conditions = "any M, split", .idle = "N-1", .peak_memory = "N", .paper = "arXiv 2401.10241",
       .micro_batches_per_rank = 2, .builder = build_zb_h1, .peak_of = ranks},
      {.name = "zb-h2", .summary = "twice the forwards before the first I: no rank idles between its ends",
       .conditions = "any M, split", .idle = "N-1; 0 a rank, M >= 2N", .peak_memory = "2N-1",
       .paper = "arXiv 2401.10241",
       .micro_batches_per_rank = 2, .builder = build_zb_h2,
       .peak_of = [](const Shape& shape) { return at_most(2.0 * shape.num_ranks - 1, shape); }},
      {.name = "zb-auto", .summary = "the best order a search finds for given times and memory",
       .conditions = "any M, split", .idle = "N-1; 0 a rank, limit 2N-1", .peak_memory = "limit (N)",
       .messages = "2(vN-1)", .paper = "idea: arXiv 2401.10241",
       .micro_batches_per_rank = 2, .takes = {{&Shape::stages_per_rank, 1}, kLimit, kReleased},
       .builder = build_zb_auto, .peak_of = limit},
  };
}

std::vector<Family> looped_families() {
  return {
      {.name = "interleaved-1f1b", .summary = "1f1b over v stages per rank, in groups of N micro-batches",
       .conditions = "any M", .idle = "2(N-1)/v, M >= N", .peak_memory = "((v-1)N+2N-1)/v", .messages = "2(vN-1)",
       .paper = "arXiv 2104.04473",
       .micro_batches_per_rank = 2, .takes = {{&Shape::stages_per_rank, 2}}, .builder = build_interleaved,
       .peak_of = interleaved},
      {.name = "gis", .summary = "interleaved-1f1b in groups of g micro-batches, fewer of them at once",
       .conditions = "any M", .idle = "(2(N-1)+(N-g)(v-1))/v", .peak_memory = "((v-1)g+N)/v", .messages = "2(vN-1)",
       .paper = "arXiv 2503.01328",
       .micro_batches_per_rank = 2, .takes = {{&Shape::stages_per_rank, 2}, {&Shape::group_size}}, .builder = build_gis,
       .peak_of = gis},
      {.name = "looped-bfs", .summary = "gpipe over v stages per rank",
       .conditions = "any M", .idle = "2(N-1)/v, M >= N", .peak_memory = "M", .messages = "2(vN-1)",
       .paper = "arXiv 2211.05953",
       .takes = {{&Shape::stages_per_rank, 2}}, .builder = build_looped_bfs, .peak_of = all},
      {.name = "zb-looped", .summary = "many looped stages per rank, W where a rank would wait; a search",
       .conditions = "any M, split", .idle = "(N-1)/v, M = N", .peak_memory = "limit (N)", .messages = "2(vN-1)",
       .takes = {{&Shape::stages_per_rank, 4}, kLimit, kReleased}, .builder = build_zb_looped,
       .peak_of = limit},
  };
}

std::vector<Family> v_families() {
  return {
      {.name = "zb-v", .summary = "two stages per rank in a V: no rank idles, at the memory of 1f1b; a search",
       .conditions = "any M, split", .idle = "(N-1)/2; 0 a rank, M >= 2N", .peak_memory = "N", .messages = "4(N-1)",
       .paper = "arXiv 2405.15362",
       .micro_batches_per_rank = 2, .builder = build_zb_v, .peak_of = ranks},
      {.name = "v-half", .summary = "zb-v at half the memory",
       .conditions = "any M, split", .idle = "(3N-7)/2, N odd (3N-4)/2", .peak_memory = "(N+2)/2",
       .messages = "4(N-1)", .paper = "arXiv 2405.15362",
       .micro_batches_per_rank = 2, .builder = build_v_half, .peak_of = v_half},
      {.name = "v-min", .summary = "two stages per rank in a V, in the pattern that keeps the least",
       .conditions = "any M, split", .idle = "2N-5/2, 3|N 2N-7/2", .peak_memory = "(N+4)/3", .messages = "4(N-1)",
       .paper = "arXiv 2405.15362",
       .micro_batches_per_rank = 2, .builder = build_v_min, .peak_of = v_min},
      {.name = "v-search", .summary = "two stages per rank in a V, within any memory limit k; a search",
       .conditions = "any M, split", .idle = "(6N-1)/2-3k, N/2 <= k < N", .peak_memory = "limit (N)",
       .messages = "4(N-1)", .paper = "arXiv 2405.15362",
       .micro_batches_per_rank = 2, .takes = {kLimit, kReleased}, .builder = build_v_search,
       .peak_of = limit},
  };
}

std::vector<Family> wave_families() {
  return {
      {.name = "1f1b-v", .summary = "two stages per rank in a V, fused backward: 2/3 of 1f1b's memory; a search",
       .conditions = "any M", .idle = "below N-1", .peak_memory = "2N/3+1", .messages = "4(N-1)",
       .paper = "arXiv 2405.15362",
       .micro_batches_per_rank = 2, .builder = build_one_f_one_b_v, .peak_of = one_f_one_b_v},
      {.name = "hanayo", .summary = "v/2 waves over the ranks; a search",
       .conditions = "any M, v even", .idle = "(N-1)/v; 0 a rank, M >= 2N", .peak_memory = "limit (N)",
       .messages = "2v(N-1)", .paper = "arXiv 2308.15762",
       .takes = {{&Shape::stages_per_rank, 2}, kLimit, kReleased}, .builder = build_hanayo,
       .peak_of = limit},
      {.name = "zb-wave", .summary = "zb-looped, but in waves: half of the hand-overs stay on their rank",
       .conditions = "any M, split", .idle = "(N-1)/v, M = N", .peak_memory = "limit (N)", .messages = "2v(N-1)",
       .takes = {{&Shape::stages_per_rank, 4}, kLimit, kReleased}, .builder = build_zb_wave,
       .peak_of = limit},
      {.name = "dualpipe-v", .summary = "dualpipe folded to a V, one replica of the weights",
       .conditions = "M >= 2N", .idle = "(N-1)/2", .peak_memory = "N+1/2", .messages = "4(N-1)",
       .paper = "arXiv 2412.19437",
       .micro_batches_per_rank = 2, .builder = build_dualpipe_v,
       .peak_of = [](const Shape& shape) { return at_most(shape.num_ranks + 0.5, shape); }},
  };
}

std::vector<Family> replica_families() {
  return {
      {.name = "chimera", .summary = "two pipelines in opposite directions; a search",
       .conditions = "N even, M even", .idle = "N/2-1", .peak_memory = "N", .replicas = 2, .paper = "arXiv 2107.06925",
       .builder = build_chimera, .peak_of = ranks},
      {.name = "dualpipe", .summary = "two pipelines in opposite directions, F beside B",
       .conditions = "N even, M even, M >= 2N", .idle = "N/2-1", .peak_memory = "N+1", .replicas = 2,
       .paper = "arXiv 2412.19437",
       .micro_batches_per_rank = 2, .builder = build_dualpipe,
       .peak_of = [](const Shape& shape) { return at_most(shape.num_ranks + 1.0, shape); }},
      {.name = "bitpipe", .summary = "two V in opposite directions",
       .conditions = "N even >= 4, N divides M", .idle = "N/2-1", .peak_memory = "N", .messages = "4(N-1)",
       .replicas = 2, .paper = "arXiv 2410.19367",
       .builder = build_bitpipe, .peak_of = ranks},
      {.name = "bitpipe-split", .summary = "bitpipe with W where a rank would wait",
       .conditions = "as bitpipe, split", .idle = "(N-2)/4", .peak_memory = "N", .messages = "4(N-1)",
       .replicas = 2,
       .builder = build_bitpipe_split, .peak_of = ranks},
  };
}

}  // namespace

std::vector<Family> local_families() {
  return {
      {.name = "local-greedy", .summary = "a loss on each stage, whose gradient stays there",
       .conditions = "any M", .idle = "N-1; 0 a rank", .peak_memory = "1", .messages = "N-1",
       .paper = "arXiv 2012.03837, 1901.08164",
       .takes = {kUpdates}, .builder = build_local_greedy, .peak_of = one},
      {.name = "local-chunked", .summary = "a loss on each of K chunks of stages (--chunks, 2); 1f1b inside a chunk",
       .conditions = "any M, 1 <= K <= N", .idle = "N-1; N/K-1 a rank", .peak_memory = "N/K", .messages = "2N-K-1",
       .paper = "arXiv 2012.03837",
       .takes = {kUpdates, {&Shape::chunks, 2}}, .builder = build_local_chunked, .peak_of = chunk},
      {.name = "local-overlapping", .summary = "losses whose gradients pass a window of w stages (--window, 2), summed",
       .conditions = "any M, 1 <= w <= N", .idle = "works (2w+1)M", .peak_memory = "w",
       .paper = "arXiv 2012.03837",
       .takes = {kUpdates, {&Shape::window, 2}}, .builder = build_local_overlapping,
       .peak_of = overlapping},
      {.name = "local-interlocking", .summary = "each stage trains by the loss d stages above (--distance, 1)",
       .conditions = "any M, 1 <= d < N", .idle = "works (d+3)M", .peak_memory = "d+1",
       .paper = "arXiv 2010.04116",
       .takes = {kUpdates, {&Shape::distance, 1}}, .builder = build_local_interlocking,
       .peak_of = interlocking},
      {.name = "local-last", .summary = "only the last stages train (--trained, 1); those below run F alone",
       .conditions = "any M, 1 <= k <= N", .idle = "N-1", .peak_memory = "k", .messages = "N+k-2",
       .takes = {kUpdates, {&Shape::trained, 1}}, .builder = build_local_last, .peak_of = trained},
  };
}
// clang-format on

const std::vector<Family>& families() {
  static const std::vector<Family> kFamilies = [] {
    std::vector<Family> joined;
    for (const auto& group :
         {two_stage_families(), moved_weight_families(), looped_families(), v_families(),
          wave_families(), replica_families(), local_families()}) {
      joined.insert(joined.end(), group.begin(), group.end());
    }
    return joined;
  }();
  return kFamilies;
}

}  // namespace halfback
