#include "halfback/base/error.h"
#include "halfback/schedule/builders.h"
#include "halfback/schedule/rank_list.h"
#include "halfback/schedule/search/order_search.h"
#include "halfback/schedule/search/weight_filling.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

namespace halfback {

namespace {

// A rank of BitPipe has four chunks: 0 and 1 are its first ones in the down and the up pipeline, 2
// and 3 its second ones. In model order, first of the down pipeline, then of the up pipeline, they
// are 0, 2, 1, 3.
constexpr int kChunkInModelOrder[4] = {0, 2, 1, 3};

// Returns the chunks of a unit's 2N forwards, or of its 2N backwards: first one chunk alone, then
// three phases of two chunks that alternate, last one chunk alone.
std::vector<int> unit_order(int alone, int pairs, const int (&phases)[4][2], int first, int last) {
  std::vector<int> order(static_cast<std::size_t>(alone), first);
  const int times[4] = {pairs, alone, pairs, 0};
  for (int phase = 0; phase < 3; ++phase) {
    for (int i = 0; i < times[phase]; ++i) {
      order.push_back(phases[phase][0]);
      order.push_back(phases[phase][1]);
    }
  }
  order.insert(order.end(), static_cast<std::size_t>(alone), last);
  return order;
}

struct UnitOrders {
  std::vector<int> forward;
  std::vector<int> backward;
};

UnitOrders unit_orders(int rank, int ranks) {
  const int half = ranks / 2;
  const int h = rank / half;
  const int alone = rank < half ? half - rank : rank - half + 1;
  const int pairs = half - alone;
  const int forward[4][2] = {{1 - h, h}, {1 - h, 3 - h}, {2 + h, 3 - h}, {}};
  const int backward[4][2] = {{3 - h, 2 + h}, {3 - h, 1 - h}, {h, 1 - h}, {}};
  return {unit_order(alone, pairs, forward, h, 2 + h),
          unit_order(alone, pairs, backward, 2 + h, h)};
}

void write_bitpipe(const PipelineShape& shape, int rank, RankList& list) {
  const int ranks = shape.num_ranks;
  const UnitOrders orders = unit_orders(rank, ranks);
  const int unit = 2 * ranks;
  const int units = shape.num_micro_batches / ranks;
  int next_forward = 0;
  int next_backward = 0;
  const auto forward = [&] {
    list.forward(
        kChunkInModelOrder[orders.forward[static_cast<std::size_t>(next_forward++ % unit)]]);
  };
  const auto backward = [&] {
    list.backward(
        kChunkInModelOrder[orders.backward[static_cast<std::size_t>(next_backward++ % unit)]]);
    list.weight();
  };
  const int warm_up = ranks + ranks / 2 + std::min(rank, ranks - 1 - rank);
  const int pairs = unit - warm_up;
  for (int i = 0; i < warm_up; ++i) {
    forward();
  }
  for (int u = 0; u < units; ++u) {
    const bool is_last = u + 1 == units;
    for (int i = 0; i < pairs; ++i) {
      forward();
      backward();
    }
    if (is_last) {
      break;
    }
    for (int i = 0; i < warm_up - pairs + 1; ++i) {
      backward();
    }
    for (int i = 0; i < pairs - 1; ++i) {
      forward();
      backward();
    }
    for (int i = 0; i < warm_up - pairs + 1; ++i) {
      forward();
    }
  }
  while (next_backward < unit * units) {
    backward();
  }
}

void check_bitpipe(const std::string& name, const PipelineShape& shape) {
  check_shape(name, shape);
  const int ranks = shape.num_ranks;
  if (ranks < 4 || ranks % 2 != 0) {
    throw ConfigError(
        fmt::format("{}: {} ranks; the number must be even and at least 4", name, ranks));
  }
  if (shape.num_micro_batches % ranks != 0) {
    throw ConfigError(
        fmt::format("{}: {} micro-batches on {} ranks; they must be a multiple of the "
                    "ranks (use --micro-batches {})",
                    name, shape.num_micro_batches, ranks,
                    ranks * std::max(1, shape.num_micro_batches / ranks)));
  }
}

Schedule build_orders(const std::string& name, const PipelineShape& shape) {
  check_bitpipe(name, shape);
  const Placement placement = with_mirror(wave_placement(shape.num_ranks, 2), shape);
  return build_ranks(name, shape, placement,
                     [&](int rank, RankList& list) { write_bitpipe(shape, rank, list); });
}

}  // namespace

Schedule build_chimera(const PipelineShape& shape) {
  check_shape("chimera", shape);
  if (shape.num_ranks % 2 != 0 || shape.num_micro_batches % 2 != 0) {
    throw ConfigError(fmt::format("chimera: {} ranks and {} micro-batches; both must be even",
                                  shape.num_ranks, shape.num_micro_batches));
  }
  return finish_replicas(
      search_order("chimera", {.placement = with_mirror(looped_placement(shape.num_ranks), shape),
                               .num_micro_batches = shape.num_micro_batches,
                               .two_stage = shape.two_stage,
                               .times = shape.times,
                               .memory_limit = static_cast<double>(shape.num_ranks)}));
}

Schedule build_bitpipe(const PipelineShape& shape) {
  return finish_replicas(build_orders("bitpipe", shape));
}

Schedule build_bitpipe_split(const PipelineShape& shape) {
  require_two_stage("bitpipe-split", shape);
  return finish_replicas(
      fill_weight_gradients(build_orders("bitpipe-split", shape), shape.times, shape.num_ranks));
}

}  // namespace halfback
