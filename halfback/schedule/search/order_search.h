// Searches a good order of a step's actions under a memory limit.
//
// It starts from a few building blocks, one micro-batch's path through the ranks, repeated at an
// even distance, and improves each by justification, as known from project scheduling (Tormos and
// Lova, "A competitive heuristic solution technique for resource-constrained project scheduling",
// Annals of Operations Research 102, 2001): all actions as late as the last one allows, by
// descending end, then as early as possible, by ascending begin, until it gains nothing. Building
// blocks are from Qi et al., "Pipeline Parallelism with Controllable Memory", NeurIPS 2024, arXiv
// 2405.15362. It uses neither clock nor chance: the same numbers give the same order.
#pragma once

#include "halfback/schedule/schedule.h"
#include "halfback/schedule/search/task_graph.h"

#include <string>
#include <vector>

namespace halfback {

// What the search makes small: the time until the last rank ends, or the longest time from one
// rank's begin to its end, which is the period of steps among many if ranks update on their own.
// Between equal orders the other time decides.
enum class SearchGoal { Makespan, StageStep };

struct SearchProblem {
  Placement placement;
  int num_micro_batches = 0;
  bool two_stage = true;
  ShareTimes times = {};
  double memory_limit = 0.0;  // of each rank, in M_B (held_peaks.h); 0: none
  double released_at_input = 0.0;
  SearchGoal goal = SearchGoal::Makespan;
  // Orders to start from besides the building blocks, with the same placement and micro-batches.
  std::vector<Schedule> known = {};
};

// Returns the best order found. Weight gradients of a stage ascend. Throws ConfigError if no order
// keeps the limit: it must admit one micro-batch on all stages of a rank.
// Time: linear in the number of actions, times the number of attempts, 12 to 200.
Schedule search_order(const std::string& name, const SearchProblem& problem);

}  // namespace halfback
