// Searches for a good order of a step's actions under a memory limit.
//
// It starts from a few building blocks. Each is one micro-batch's path through the ranks, repeated
// at equal distances: Qi et al., "Pipeline Parallelism with Controllable Memory", NeurIPS 2024,
// arXiv 2405.15362. It improves them by justification, a method of project scheduling: it moves all
// actions as late as the last one allows, by descending end, then as early as possible, by
// ascending start, until this gains nothing. Source: Tormos and Lova, "A competitive heuristic
// solution technique for resource-constrained project scheduling", Annals of Operations Research
// 102, 2001. It uses no clock and no random numbers: the same input gives the same order.
#pragma once

#include "halfback/schedule/schedule.h"
#include "halfback/schedule/search/task_graph.h"

#include <string>
#include <vector>

namespace halfback {

// What the search minimizes: the time until the last rank ends, or the longest time from one rank's
// start to its end, which is the period of steps in a long run if ranks update on their own. The
// other time breaks ties.
enum class SearchGoal { Makespan, StageStep };

struct SearchProblem {
  Placement placement;
  int num_micro_batches = 0;
  bool two_stage = true;
  ShareTimes times = {};
  double memory_limit = 0.0;  // of each rank, in M_B (held_peaks.h); 0: none
  double released_at_input = 0.0;
  SearchGoal goal = SearchGoal::Makespan;
  // More orders to start from, with the same placement and micro-batches.
  std::vector<Schedule> known = {};
};

// Returns the best order found. Weight gradients of a stage ascend. Throws ConfigError if no order
// keeps the limit, which must admit one micro-batch on all stages of a rank.
// Time: linear in the number of actions, times the number of attempts, 12 to 200.
Schedule search_order(const std::string& name, const SearchProblem& problem);

}  // namespace halfback
