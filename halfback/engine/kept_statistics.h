// Running statistics that stay as they are while a tool runs the model: it takes gradients that
// belong to no step.
#pragma once

#include "halfback/engine/pipeline.h"

#include <ATen/core/Tensor.h>

#include <vector>

namespace halfback {

// While it lives, the stages of this process may run; at its end they have the statistics from its
// beginning. Needs a thread in inference mode at both.
class KeptStatistics {
 public:
  explicit KeptStatistics(Pipeline& pipeline) {
    for (const LocalStage& local : pipeline.local_stages()) {
      now_.push_back(local.stage->store().statistics());
      kept_.push_back(now_.back().clone());
    }
  }
  KeptStatistics(const KeptStatistics&) = delete;
  KeptStatistics& operator=(const KeptStatistics&) = delete;
  ~KeptStatistics() {
    for (std::size_t i = 0; i < kept_.size(); ++i) {
      now_[i].copy_(kept_[i]);
    }
  }

 private:
  std::vector<at::Tensor> now_;
  std::vector<at::Tensor> kept_;
};

}  // namespace halfback
