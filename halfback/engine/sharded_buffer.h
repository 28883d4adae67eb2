// A flat buffer over all elements of a stage. This replica holds a shard of it, or each replica
// holds all.
#pragma once

#include "halfback/group/shards.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace halfback {

class ShardedBuffer {
 public:
  // `own` holds the elements in `range`, out of `count`.
  ShardedBuffer(std::string name, at::Tensor own, const ElementRange& range, std::int64_t count);

  // Each replica has all elements.
  ShardedBuffer(std::string name, at::Tensor whole);

  const std::string& name() const { return name_; }
  bool is_on_each_replica() const { return is_on_each_replica_; }
  bool is_sharded() const { return range_.size() != count_; }

  const at::Tensor& own() const { return own_; }

  // Returns all elements: own() if it has them all, else memory that lives as long as this, with
  // the own elements in place. The elements of other replicas are 0 until
  // Replicas::gather_update_state() fills them.
  const at::Tensor& whole();

  // Copies the own elements out of whole(), after somebody has written to it.
  void take_own();

 private:
  std::string name_;
  at::Tensor own_;
  ElementRange range_;
  std::int64_t count_;
  bool is_on_each_replica_ = false;
  at::Tensor whole_;
};

}  // namespace halfback
