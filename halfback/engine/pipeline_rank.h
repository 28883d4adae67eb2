// A rank of a pipeline in this process: internal to Pipeline.
#pragma once

#include "halfback/engine/pipeline.h"

#include <cstdint>
#include <map>
#include <vector>

namespace halfback {

struct Pipeline::Rank {
  Rank(int rank_number, Transport& transport, at::Device device)
      : number(rank_number), executor(rank_number, stages, transport, device) {}

  int number;
  Executor::Stages stages;
  Executor executor;
  std::int64_t idle_bytes = 0;  // alive before the step

  // Sums, as they come out of the exchange at the end of a step: the same on every rank.
  struct Totals {
    double loss = 0.0;
    double squared_norm = 0.0;
    double num_correct = 0.0;  // of an evaluation
  };
  Totals totals;
  std::vector<RankReport> reports;  // its own, or of all where some are in other processes

  std::map<int, Link> sent;  // all that went out to a rank before the step

  RankReport report(const Transport& transport);
};

}  // namespace halfback
