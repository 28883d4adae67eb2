// The rows of training with local updates.
#include "halfback/schedule/families.h"

#include <algorithm>

namespace halfback {

namespace {

using Shape = PipelineShape;

double at_most(int micro_batches, const Shape& shape) {
  return std::min(micro_batches, shape.num_micro_batches);
}

double one(const Shape& /*shape*/) { return 1; }
double chunk(const Shape& shape) {
  return at_most((shape.num_ranks + shape.chunks - 1) / shape.chunks, shape);
}
double trained(const Shape& shape) { return at_most(shape.trained, shape); }

// Of windows of a size: see build_local_overlapping().
double windows(int window, const Shape& shape) {
  return at_most(window == 2 && shape.two_stage ? 2 : window == 1 ? 1 : shape.num_ranks, shape);
}
double overlapping(const Shape& shape) { return windows(shape.window, shape); }
double interlocking(const Shape& shape) { return windows(shape.distance + 1, shape); }

}  // namespace

std::vector<Family> local_families() {
  // clang-format off
  std::vector<Family> families = {
      {.name = "local-greedy", .summary = "a loss on each stage, whose gradient stays there",
       .conditions = "any M", .idle = "N-1; 0 a rank", .peak_memory = "1", .messages = "N-1",
       .paper = "arXiv 2012.03837, 1901.08164",
       .builder = build_local_greedy, .peak_of = one},
      {.name = "local-chunked", .summary = "a loss on each of K chunks of stages (--chunks, 2); 1f1b inside a chunk",
       .conditions = "any M, 1 <= K <= N", .idle = "N-1; N/K-1 a rank", .peak_memory = "N/K", .messages = "2N-K-1",
       .paper = "arXiv 2012.03837",
       .local_size = &Shape::chunks, .natural_local_size = 2, .builder = build_local_chunked, .peak_of = chunk},
      {.name = "local-overlapping", .summary = "losses whose gradients pass a window of w stages (--window, 2), summed",
       .conditions = "any M, 1 <= w <= N", .idle = "works 5M, w = 2", .peak_memory = "2; w > 2: N",
       .paper = "arXiv 2012.03837",
       .local_size = &Shape::window, .natural_local_size = 2, .builder = build_local_overlapping,
       .peak_of = overlapping},
      {.name = "local-interlocking", .summary = "each stage trains by the loss d stages above (--distance, 1)",
       .conditions = "any M, 1 <= d < N", .idle = "works 4M, d = 1", .peak_memory = "2; d > 1: N",
       .paper = "arXiv 2010.04116",
       .local_size = &Shape::distance, .natural_local_size = 1, .builder = build_local_interlocking,
       .peak_of = interlocking},
      {.name = "local-last", .summary = "only the last stages train (--trained, 1); those below run F alone",
       .conditions = "any M, 1 <= k <= N", .idle = "N-1", .peak_memory = "k", .messages = "N+k-2",
       .local_size = &Shape::trained, .natural_local_size = 1, .builder = build_local_last, .peak_of = trained},
  };
  // clang-format on
  for (Family& family : families) {
    family.stage_updates = true;
  }
  return families;
}

}  // namespace halfback
