// A rank of a pipeline in this process: internal to Pipeline.
#pragma once

#include "halfback/engine/executor.h"
#include "halfback/engine/pipeline.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace halfback {

struct Pipeline::Rank {
  Rank(int rank_number, const Pipeline& of_pipeline, at::Device computes_on)
      : pipeline(of_pipeline),
        number(rank_number),
        device(rank_number, computes_on),
        world(Group::world(*pipeline.network_, rank_number, pipeline.schedule_.num_ranks())),
        replicas(rank_number,
                 {.placement = pipeline.schedule_.placement,
                  .layout = pipeline.layout_,
                  .stages = stages,
                  .world = world,
                  .device = device}),
        runner(rank_number, stages, replicas, pipeline.update_),
        executor(rank_number, runner, *pipeline.network_, device) {}

  // Runs the list of a step or an evaluation, and the update after it. An error stops all ranks and
  // is thrown with the place in the list in front. Returns false if another rank has stopped it.
  bool run(const StepContext& context, const StepOptions* update);

  const Pipeline& pipeline;
  int number;
  RankDevice device;
  RankStageMap stages;
  Group world;  // of all ranks
  Replicas replicas;
  RankStages runner;
  Executor executor;
  std::int64_t idle_bytes = 0;  // alive before the step

  StepTotals::Sums totals;          // the same on every rank
  std::vector<RankReport> reports;  // its own, or all ranks' if some are in other processes

  std::map<int, Link> sent;  // by rank: everything sent to it before the step

 private:
  void run_step(const StepContext& context, const StepOptions* update);
  std::string place_in(const Schedule& schedule) const;
  RankReport report_of_step();
  void exchange_reports(RankReport own);
};

}  // namespace halfback
