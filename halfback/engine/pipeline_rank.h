// A rank of a pipeline in this process, and what all ranks do together: internal to Pipeline.
#pragma once

#include "halfback/engine/executor.h"
#include "halfback/engine/output_copies.h"
#include "halfback/engine/pipeline.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace halfback {

// A step or an evaluation that was begun and whose result nobody has asked for.
struct Pipeline::Step {
  std::vector<MicroBatch> micro_batches;
  StepContext context;
  const std::atomic<bool>* stop = nullptr;
  bool runs_ahead = false;            // a step before it was not finished when it began
  bool probes = false;                // counts the bytes of stages
  std::map<int, RankReport> reports;  // by rank of this process, each from its own thread
  std::shared_ptr<RankThreads::Begun> begun = {};
};

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
                  .device = device,
                  .shards_optimizer = pipeline.options_.shards_optimizer}),
        output_copies(rank_number,
                      {.placement = pipeline.schedule_.placement,
                       .layout = pipeline.layout_,
                       .stages = stages,
                       .world = world,
                       .device = device}),
        runner(rank_number, stages, replicas, pipeline.update_),
        executor(rank_number, *pipeline.network_, device) {}

  // Runs the list of a step or an evaluation and the update after it, and reports. An error stops
  // all ranks and is thrown with the place in the list in front and the error itself nested in it,
  // or as StoppedError if another rank has stopped this one.
  void run(Step& step);

  // Returns "rank 0 is at position 3, 1F0". Call it with running_mutex_ locked.
  std::string where() const;

  // Starts to measure memory; nothing of a step is alive.
  void begin_memory() {
    device.reset_peak();
    idle_bytes = device.live_bytes();
  }

  const Pipeline& pipeline;
  int number;
  RankDevice device;
  RankStageMap stages;
  Group world;  // of all ranks
  Replicas replicas;
  OutputCopies output_copies;
  RankStages runner;
  Executor executor;
  std::int64_t idle_bytes = 0;  // alive before the step

  std::map<int, Link> sent;  // by rank: everything sent to it before the step

  const StepContext* running = nullptr;  // in progress, or that of the error; under running_mutex_

 private:
  void run_list(Step& step);
  void probe(Step& step);
  void update_stages(const StepContext& context);
  void report(Step& step);
};

}  // namespace halfback
