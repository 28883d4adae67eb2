#include "halfback/schedule/builders.h"
#include "halfback/schedule/rank_list.h"
#include "halfback/schedule/search/order_search.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

namespace halfback {

namespace {

constexpr int kPeriod = 6;  // half-slots from one micro-batch to the next: F, I and W of two stages

SearchProblem v_problem(const std::string& name, const PipelineShape& shape, double memory_limit) {
  check_shape(name, shape);
  return {.placement = wave_placement(shape.num_ranks, 2),
          .num_micro_batches = shape.num_micro_batches,
          .two_stage = shape.two_stage,
          .times = shape.times,
          .memory_limit = memory_limit,
          .released_at_input = shape.released_at_input,
          .goal = SearchGoal::StageStep};
}

// Takes the half-slots of F, F, I, I on one rank, in this order. Returns those of the two W: the
// first after each I that the pattern leaves free.
std::array<int, 2> free_slots(const std::array<int, 4>& slots) {
  std::array<bool, kPeriod> taken = {};
  for (const int slot : slots) {
    taken[static_cast<std::size_t>(slot % kPeriod)] = true;
  }
  std::array<int, 2> weights = {slots[2], slots[3]};
  for (int& slot : weights) {
    while (taken[static_cast<std::size_t>(slot % kPeriod)]) {
      ++slot;
    }
    taken[static_cast<std::size_t>(slot % kPeriod)] = true;
  }
  return weights;
}

// The actions of one micro-batch on a rank; stage 0 is on the way down.
enum class Step { Forward0, Forward1, Backward1, Backward0, Weight };

void add(Step step, RankList& list) {
  switch (step) {
    case Step::Forward0:
      return list.forward(0);
    case Step::Forward1:
      return list.forward(1);
    case Step::Backward1:
      return list.backward(1);
    case Step::Backward0:
      return list.backward(0);
    case Step::Weight:
      return list.weight();
  }
}

// If 3 divides the number of ranks, micro-batches only stay apart with a gap of two before the
// first I. The first and the last micro-batch do not need it: the F of the first run before any I,
// and the I of the last after all F. So all others enter two slots sooner after the first, and the
// last ends two sooner.
void write_v_min(const PipelineShape& shape, int rank, RankList& list) {
  const int ranks = shape.num_ranks;
  const int last = shape.num_micro_batches - 1;
  const int gap = ranks % 3 == 0 && last > 0 ? 2 : 0;
  const std::array<int, 4> slots = {rank, 2 * ranks - 1 - rank, 2 * ranks + gap + rank,
                                    4 * ranks + gap - rank - 1};
  const std::array<int, 2> weights = free_slots(slots);
  std::vector<std::pair<int, Step>> order;
  for (int i = 0; i <= last; ++i) {
    const int enters = kPeriod * i + (i == 0 ? gap : 0);
    const int returns = kPeriod * i - (i == last ? gap : 0);
    order.emplace_back(slots[0] + enters, Step::Forward0);
    order.emplace_back(slots[1] + enters, Step::Forward1);
    order.emplace_back(slots[2] + returns, Step::Backward1);
    order.emplace_back(slots[3] + returns, Step::Backward0);
    for (const int slot : weights) {
      order.emplace_back(slot + kPeriod * i, Step::Weight);
    }
  }
  std::sort(order.begin(), order.end());
  for (const auto& [slot, step] : order) {
    add(step, list);
  }
}

}  // namespace

double v_half_memory(int num_ranks) {
  const int whole = (num_ranks + 2) / 2;
  return whole;
}

double v_min_memory(int num_ranks) {
  const int whole = (num_ranks + 4) / 3;
  return whole;
}

double one_f_one_b_v_memory(int num_ranks) {
  const int halves = 4 * num_ranks / 3 + 2;
  return 0.5 * halves;
}

Schedule build_zb_v(const PipelineShape& shape) {
  require_two_stage("zb-v", shape);
  return search_order("zb-v", v_problem("zb-v", shape, shape.num_ranks));
}

Schedule build_v_half(const PipelineShape& shape) {
  require_two_stage("v-half", shape);
  SearchProblem problem = v_problem("v-half", shape, v_half_memory(shape.num_ranks));
  problem.goal = SearchGoal::Makespan;
  return search_order("v-half", problem);
}

Schedule build_v_min(const PipelineShape& shape) {
  check_shape("v-min", shape);
  require_two_stage("v-min", shape);
  const Placement placement = wave_placement(shape.num_ranks, 2);
  return build_ranks("v-min", shape, placement,
                     [&](int rank, RankList& list) { write_v_min(shape, rank, list); });
}

Schedule build_v_search(const PipelineShape& shape) {
  require_two_stage("v-search", shape);
  SearchProblem problem = v_problem("v-search", shape, shape.memory_limit);
  if (shape.memory_limit >= v_min_memory(shape.num_ranks)) {
    problem.known = {build_v_min(shape)};
  }
  return search_order("v-search", problem);
}

Schedule build_one_f_one_b_v(const PipelineShape& shape) {
  const double limit = one_f_one_b_v_memory(shape.num_ranks);
  SearchProblem problem = v_problem("1f1b-v", shape, limit);
  problem.goal = SearchGoal::Makespan;
  problem.memory_limit = limit - 0.5;
  problem.known = {search_order("1f1b-v", problem)};
  problem.memory_limit = limit;
  return search_order("1f1b-v", problem);
}

}  // namespace halfback
