// How smooth the loss is along an update of the weights: the local Lipschitz constant of its
// gradient g from the values w before the update d to those after it,
//
//   L = max over t = 0.1, 0.2, ..., 0.9 of |g(w + t d) - g(w)| / |t d|.
//
// Source: Lee, Ajanthan, Torr, Jaggi, "Understanding the Effects of Data Parallelism and Sparsity
// on Neural Network Training", ICLR 2021, section 4.
#pragma once

#include "halfback/engine/pipeline.h"

#include <functional>
#include <vector>

namespace halfback {

class SmoothnessProbe {
 public:
  // The gradient is the mean over these batches. The pipeline's schedule has no U.
  SmoothnessProbe(Pipeline& pipeline, std::vector<std::vector<MicroBatch>> batches);

  // Notes the values before an update.
  void note_values();

  // Returns L along the way from the noted values to those of now; 0 if nothing has moved. Values
  // and running statistics stay as they are; gradients do not.
  double lipschitz();

 private:
  void set_values(double t);
  // Returns the gradients of all stages, in float64.
  std::vector<at::Tensor> gradients();

  Pipeline& pipeline_;
  std::vector<std::vector<MicroBatch>> batches_;
  std::vector<at::Tensor> before_;  // by stage
  std::vector<at::Tensor> after_;
};

}  // namespace halfback
