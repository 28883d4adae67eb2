// Runs the ticks of a replay (schedule/replay.h) on one thread: greedy training, in which every
// stage has a loss of its own and trains on stored outputs of the stage below.
//
// A tick is F, I and W of one batch on one stage, and the update of that stage. What it hands on
// was computed before the update, with the values that its loss has seen.
//
// Source: Belilovsky et al., "Decoupled Greedy Learning of CNNs", ICML 2020, arXiv 1901.08164.
#pragma once

#include "halfback/data/micro_batch.h"
#include "halfback/engine/model_layout.h"
#include "halfback/engine/stage.h"
#include "halfback/engine/stage_update.h"
#include "halfback/schedule/replay.h"

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

namespace halfback {

class ReplayRun {
 public:
  struct Options {
    Stage::Options stage;  // of every stage
    UpdateOptions update;
    int buffer_size = 1;  // outputs of one batch each, stored between two neighboring stages
  };
  // Returns batch `number` of the data, from 0.
  using Batches = std::function<MicroBatch(std::int64_t number)>;

  // Throws ConfigError for a stage without a loss, for tied parameters, for heads that share the
  // output matrix, and for options that do not work where each stage is updated on its own after
  // one batch.
  ReplayRun(std::vector<StageLayers> stages, const Options& options, Batches batches);

  void initialize(std::uint64_t seed);

  // Trains one stage on one batch, and returns its loss before its update, the mean over the
  // targets. Random masks depend on the seed and on the stage's own update number. Stage 0 fetches
  // its batch. A tick need not come from a Replay: throws ScheduleError unless it is the next
  // update of a stage that exists, and reads what is stored.
  double run(const ReplayTick& tick, double learning_rate);

  Stage& stage(int number) { return *stages_[static_cast<std::size_t>(number)]; }

 private:
  // What an update of a stage made of a batch, with its targets. It is read any number of times.
  struct Output {
    std::int64_t update = 0;
    std::int64_t batch = 0;
    MicroBatch data;
  };
  MicroBatch read(const ReplayTick& tick) const;

  ModelLayout layout_;
  int buffer_size_;
  Batches batches_;
  StageUpdate update_;
  std::vector<std::unique_ptr<Stage>> stages_;
  std::vector<std::int64_t> num_updates_;    // by stage
  std::vector<std::deque<Output>> outputs_;  // by stage, of its last updates, the oldest first
};

}  // namespace halfback
