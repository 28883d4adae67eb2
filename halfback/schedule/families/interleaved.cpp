#include "halfback/base/error.h"
#include "halfback/schedule/builders.h"
#include "halfback/schedule/rank_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

namespace halfback {

namespace {

// Shares the micro-batches evenly among groups of at least `smallest`, or puts them in one: a
// smaller group than the others would wait for itself around the loop.
std::vector<int> groups_of(int num_micro_batches, int smallest) {
  const int count = std::max(1, num_micro_batches / smallest);
  std::vector<int> sizes(static_cast<std::size_t>(count), num_micro_batches / count);
  for (int i = 0; i < num_micro_batches % count; ++i) {
    ++sizes[static_cast<std::size_t>(i)];
  }
  return sizes;
}

// Returns the chunk of each forward of a rank; backwards take the chunks in reverse order.
std::vector<int> chunk_order(const std::vector<int>& groups, int num_chunks) {
  std::vector<int> order;
  for (const int size : groups) {
    for (int chunk = 0; chunk < num_chunks; ++chunk) {
      order.insert(order.end(), static_cast<std::size_t>(size), chunk);
    }
  }
  return order;
}

// Forwards before the first backward of a rank, given the largest group.
using WarmUp = std::function<int(int rank, int largest_group)>;

Schedule build(const std::string& name,
               const PipelineShape& shape,
               int group_size,
               const WarmUp& warm_up_of) {
  check_shape(name, shape);
  const int chunks = shape.stages_per_rank;
  const std::vector<int> groups = groups_of(shape.num_micro_batches, group_size);
  const std::vector<int> order = chunk_order(groups, chunks);
  const int total = static_cast<int>(order.size());
  const auto chunk_at = [&](int index) { return order[static_cast<std::size_t>(index)]; };
  const Placement placement = looped_placement(shape.num_ranks, chunks);
  return build_ranks(name, shape, placement, [&](int rank, RankList& list) {
    const int warm_up = std::min(warm_up_of(rank, groups.front()), total);
    for (int i = 0; i < warm_up; ++i) {
      list.forward(chunk_at(i));
    }
    for (int i = 0; i < total; ++i) {
      list.backward(chunks - 1 - chunk_at(i));
      list.weight();
      if (warm_up + i < total) {
        list.forward(chunk_at(warm_up + i));
      }
    }
  });
}

}  // namespace

int largest_group(int num_micro_batches, int group_size) {
  return groups_of(num_micro_batches, group_size).front();
}

Schedule build_interleaved(const PipelineShape& shape) {
  const int chunks = shape.stages_per_rank;
  return build("interleaved-1f1b", shape, shape.num_ranks, [&](int rank, int largest_group) {
    return 2 * (shape.num_ranks - rank - 1) + (chunks - 1) * largest_group + 1;
  });
}

Schedule build_gis(const PipelineShape& shape) {
  const int ranks = shape.num_ranks;
  const int chunks = shape.stages_per_rank;
  const int group = shape.group_size;
  if (group < (ranks + 1) / 2 || group > ranks) {
    throw ConfigError(fmt::format(
        "gis: groups of {} micro-batches on {} ranks; {} to {} are allowed (--group-size)", group,
        ranks, (ranks + 1) / 2, ranks));
  }
  return build("gis", shape, group, [&](int rank, int largest_group) {
    return (chunks - 1) * largest_group + ranks - rank;
  });
}

Schedule build_looped_bfs(const PipelineShape& shape) {
  check_shape("looped-bfs", shape);
  const int chunks = shape.stages_per_rank;
  const Placement placement = looped_placement(shape.num_ranks, chunks);
  return build_ranks("looped-bfs", shape, placement, [&](int, RankList& list) {
    for (int i = 0; i < chunks * shape.num_micro_batches; ++i) {
      list.forward(i / shape.num_micro_batches);
    }
    for (int i = 0; i < chunks * shape.num_micro_batches; ++i) {
      list.backward(chunks - 1 - i / shape.num_micro_batches);
    }
    list.flush();
  });
}

}  // namespace halfback
