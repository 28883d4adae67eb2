// A schedule simulated, with all that is shown of it: one form for the command line and for Python.
#pragma once

#include "halfback/simulate/cost_file.h"
#include "halfback/simulate/memory_model.h"
#include "halfback/simulate/simulator.h"
#include "halfback/timeline/statistics.h"

#include <optional>
#include <vector>

namespace halfback {

struct SimulationRequest {
  CostFile costs;               // with the bytes of stages, if known
  bool costs_are_share = true;  // of 1/N of the model, which uniform_costs() gives to the stages
  std::optional<double> latency = std::nullopt;  // instead of that of the costs
  std::optional<double> bandwidth = std::nullopt;
  std::optional<MemoryModel> memory = std::nullopt;
  ChannelRule channel = kBuffered;
  std::optional<int> repeat = std::nullopt;  // so many steps back to back; needs U in the schedule
  bool keeps_timeline = true;
};

struct Simulation {
  Schedule schedule;  // as simulated: with messages if they block a rank, and with repeated steps
  bool messages_added = false;
  CostModel costs;  // of each stage
  SimulateOptions options;
  std::optional<MemoryModel> memory;
  SimulationResult result;
  Statistics statistics;                 // 0 without a timeline
  std::vector<double> activation_peaks;  // by rank, in M_B
  std::vector<StateBytes> constant;      // by rank; empty if the bytes are unknown
  MemoryPrediction prediction;           // the same
  std::optional<SteadyStep> steady;      // of repeated steps

  // Returns true if replicas are reduced and that takes time; then the timeline is kept.
  bool reduces() const;
};

// Simulates a valid schedule. Throws as simulate(), take_bytes(), predict_memory() and
// steady_step(); ConfigError also for a bandwidth if no message has bytes, and for a step that
// takes longer than drawings can show.
Simulation simulate_all(Schedule schedule, const SimulationRequest& request);

}  // namespace halfback
