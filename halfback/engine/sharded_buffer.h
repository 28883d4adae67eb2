// A flat buffer over all elements of a stage of which this replica holds a shard, or all.
#pragma once

#include "halfback/group/shards.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace halfback {

class ShardedBuffer {
 public:
  // `own` holds these elements of so many.
  ShardedBuffer(std::string name, at::Tensor own, const ElementRange& range, std::int64_t count);

  const std::string& name() const { return name_; }
  bool is_sharded() const { return range_.size() != count_; }

  const at::Tensor& own() const { return own_; }

  // Returns all elements: own() where it has them all, else memory that lives as long as this, with
  // the own elements in their place. What the other replicas hold is 0 there, until
  // Replicas::gather_optimizer_state() brings it.
  const at::Tensor& whole();

  // Takes the own elements out of whole(), where somebody has written to it.
  void take_own();

 private:
  std::string name_;
  at::Tensor own_;
  ElementRange range_;
  std::int64_t count_;
  at::Tensor whole_;
};

}  // namespace halfback
