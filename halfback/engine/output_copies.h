// Copies of the model's output matrix, which heads of earlier stages read (shared_head.h), as seen
// from one rank. Each replica of the weights gives its own last stage's matrix to its own stages.
#pragma once

#include "halfback/engine/device.h"
#include "halfback/engine/model_layout.h"
#include "halfback/engine/replicas.h"
#include "halfback/group/group.h"
#include "halfback/schedule/placement.h"

#include <ATen/core/Tensor.h>

#include <map>
#include <vector>

namespace halfback {

class OutputCopies {
 public:
  // What it works on; all must outlive it.
  struct Parts {
    const Placement& placement;
    const ModelLayout& layout;
    RankStageMap& stages;
    Group& world;  // of all ranks
    const RankDevice& device;
  };
  OutputCopies(int rank, const Parts& parts);

  // Gives all copies the matrix's values. All ranks make the same call, from their own threads. A
  // rank waits for the rank of the last stage, and so for everything that it did before.
  void refresh();

 private:
  const at::Tensor& matrix_of(int stage) const;
  // Returns those on this rank's stages of a replica.
  std::vector<at::Tensor> copies_of(int replica) const;

  int rank_;
  Parts parts_;
  // By replica, if this rank has its last stage or one of its readers: the rank of the last stage,
  // then the others.
  std::map<int, Group> groups_;
};

}  // namespace halfback
