// How far the gradients that losses inside a model make agree with those of backprop: at the same
// values, on the same data, with the same masks.
#pragma once

#include "halfback/train/training_config.h"

#include <span>
#include <vector>

namespace halfback {

class GradientProbe {
 public:
  // For a run with this configuration, in one process.
  explicit GradientProbe(const TrainingConfig& config);

  // Returns for each stage the cosine of the angle between the two gradients of its layers, heads
  // not included; NaN where one of them is 0. No step of the pipeline may have begun. Its values
  // and running statistics stay as they are; its gradients do not.
  std::vector<double> cosines(Pipeline& pipeline, std::span<const MicroBatch> micro_batches);

 private:
  void take_values(Pipeline& pipeline);

  Pipeline backprop_;  // the same stages, on one rank
};

}  // namespace halfback
