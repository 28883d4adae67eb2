// The same training steps under a schedule with the fused and the split backward, side by side:
// what was measured, what the simulator predicts, and whether the gradients equal the plain run bit
// for bit. With losses inside the model, one rank that does all stages takes the place of the plain
// run. Where steps have no barrier, a step is one of many in a run.
#pragma once

#include "halfback/measure/rounds.h"
#include "halfback/schedule/source.h"
#include "halfback/train/training_config.h"

#include <cstdint>
#include <string>
#include <vector>

namespace halfback {

// One line of the table.
struct ComparisonRow {
  std::string schedule;
  int num_ranks = 0;
  int num_micro_batches = 0;
  bool two_stage = false;
  bool is_emulated = false;     // more ranks than cores: replayed thread CPU times
  double step_seconds = 0.0;    // median
  double spread_seconds = 0.0;  // half the distance between the quartiles
  double items_per_second = 0.0;
  std::string item_name;             // "tokens" or "images"
  double speed_up = 1.0;             // over the row with the fused backward; median of rounds
  double predicted_speed_up = 1.0;   // of the simulator with the measured action costs
  double step_over_simulated = 1.0;  // measured step over the simulated one
  double bubble_fraction = 0.0;
  double reduction_seconds = 0.0;              // of gradients over the replicas
  double exposed_reduction_seconds = 0.0;      // the part in which a rank computes nothing
  std::vector<std::int64_t> activation_bytes;  // peak of each rank
  std::vector<std::int64_t> predicted_activation_bytes;
  bool is_bit_equal = false;
};

struct ComparisonRequest {
  std::vector<std::string> schedules;
  // A family gets the parameters that it takes, and queues if it has several blocks. Without
  // two_stage, both variants run.
  ShapeRequest shape;
  int channel_capacity = kDefaultChannelCapacity;
  Rounds rounds;
};

// Runs each schedule in alternating rounds, one step of each kind per round. Returns its rows:
// fused and split, or only split if the family has no other. A schedule file is one row. The
// schedule of the configuration is not used. Throws like load_or_build(), make_runnable() and
// check(), and ConfigError for a parameter that none of the schedules takes.
std::vector<ComparisonRow> compare(const TrainingConfig& config,
                                   const ComparisonRequest& request,
                                   const OnRound& on_round);

}  // namespace halfback
