// What training takes its micro-batches from. A batch is a function of the data, the seed and the
// position in the endless training order, whatever ranks, stages or micro-batches there are.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace halfback {

struct Batch {
  at::Tensor inputs;
  at::Tensor targets;
};

// Thread-safe once made.
class Dataset {
 public:
  Dataset() = default;
  Dataset(const Dataset&) = delete;
  Dataset& operator=(const Dataset&) = delete;
  virtual ~Dataset() = default;

  // Returns the samples `position` ... `position + num_samples - 1` of the training order, where
  // epochs follow each other; `position` is the number of samples consumed so far.
  virtual Batch train_batch(std::int64_t position, std::int64_t num_samples) const = 0;

  // Returns validation samples `index` ... in file order; all must be there.
  virtual Batch validation_batch(std::int64_t index, std::int64_t num_samples) const = 0;
  virtual std::int64_t num_validation_samples() const = 0;

  // Returns the size of the data in bytes, to notice other data when a run goes on.
  virtual std::int64_t num_bytes() const = 0;
};

}  // namespace halfback
