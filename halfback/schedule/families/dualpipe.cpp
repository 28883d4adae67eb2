#include "halfback/base/error.h"
#include "halfback/schedule/builders.h"
#include "halfback/schedule/rank_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace halfback {

namespace {

// The eight phases of a rank at `depth` of `length` from the side where its own micro-batches
// enter. Chunk `own` has these, the other chunk has those from the other side. Each side has
// `micro_batches`.
struct Phases {
  int depth;
  int length;
  int micro_batches;
  int own;
};

void write(const Phases& phases, RankList& list) {
  const int own = phases.own;
  const int other = 1 - own;
  const int near = phases.length - phases.depth - 1;
  const int far = phases.depth + 1;
  const auto repeat = [](int times, const auto& body) {
    for (int i = 0; i < times; ++i) {
      body(i);
    }
  };
  repeat(2 * near, [&](int) { list.forward(own); });
  repeat(far, [&](int) {
    list.forward(own);
    list.forward(other);
  });
  repeat(near, [&](int) {
    list.backward(other);
    list.weight();
    list.forward(other);
  });
  repeat(phases.micro_batches - 2 * phases.length + far, [&](int) {
    list.forward(own);
    list.whole_backward(other);
    list.forward(other);
    list.whole_backward(own);
  });
  repeat(near, [&](int) {
    list.whole_backward(other);
    list.forward(other);
    list.whole_backward(own);
  });
  // The second half of the 2 x far backwards is split.
  const auto late_backward = [&](int index, int chunk) {
    index < far ? list.whole_backward(chunk) : list.backward(chunk);
  };
  repeat(far, [&](int i) {
    late_backward(2 * i, other);
    late_backward(2 * i + 1, own);
  });
  repeat(near, [&](int) {
    list.weight();
    list.backward(own);
  });
  list.flush();
}

}  // namespace

Schedule build_dualpipe(const PipelineShape& shape) {
  check_shape("dualpipe", shape);
  const int ranks = shape.num_ranks;
  if (ranks % 2 != 0 || shape.num_micro_batches % 2 != 0 || shape.num_micro_batches < 2 * ranks) {
    throw ConfigError(
        fmt::format("dualpipe: {} ranks and {} micro-batches; both must be even, and "
                    "at least {} micro-batches (use --micro-batches {})",
                    ranks, shape.num_micro_batches, 2 * ranks, 2 * ranks));
  }
  const Placement placement = with_mirror(looped_placement(ranks), shape);
  return finish_replicas(build_ranks("dualpipe", shape, placement, [&](int rank, RankList& list) {
    write({.depth = std::min(rank, ranks - 1 - rank),
           .length = ranks / 2,
           .micro_batches = shape.num_micro_batches / 2,
           .own = rank < ranks / 2 ? 0 : 1},
          list);
  }));
}

Schedule build_dualpipe_v(const PipelineShape& shape) {
  check_shape("dualpipe-v", shape);
  const int ranks = shape.num_ranks;
  if (shape.num_micro_batches < 2 * ranks) {
    throw ConfigError(
        fmt::format("dualpipe-v: {} micro-batches on {} ranks; at least {} are needed "
                    "(use --micro-batches {})",
                    shape.num_micro_batches, ranks, 2 * ranks, 2 * ranks));
  }
  return build_ranks("dualpipe-v", shape, wave_placement(ranks, 2), [&](int rank, RankList& list) {
    write({.depth = rank, .length = ranks, .micro_batches = shape.num_micro_batches, .own = 0},
          list);
  });
}

}  // namespace halfback
