// The source of micro-batches for training. A batch is a function of the data, the seed and the
// position in the endless training order. It does not depend on ranks, stages or micro-batches.
#pragma once

#include "halfback/data/micro_batch.h"

#include <cstdint>

namespace halfback {

struct DataIdentity {
  std::int64_t num_bytes = 0;
  std::int64_t num_training_bytes = 0;  // the rest is for validation
  std::uint32_t crc32 = 0;              // of all bytes

  bool operator==(const DataIdentity&) const = default;
};

// Thread-safe after construction.
class Dataset {
 public:
  Dataset() = default;
  Dataset(const Dataset&) = delete;
  Dataset& operator=(const Dataset&) = delete;
  virtual ~Dataset() = default;

  // Returns the samples `position` ... `position + num_samples - 1` of the training order, in which
  // epochs follow each other; `position` is the number of samples consumed so far.
  virtual MicroBatch train_batch(std::int64_t position, std::int64_t num_samples) const = 0;

  // Returns how many samples an epoch has.
  virtual std::int64_t num_train_samples() const = 0;

  // Returns validation samples from `index` on, in file order; all must exist.
  virtual MicroBatch validation_batch(std::int64_t index, std::int64_t num_samples) const = 0;
  virtual std::int64_t num_validation_samples() const = 0;

  // Returns a fingerprint of the data and of its training part. Reads all of the data.
  virtual DataIdentity identity() const = 0;
};

}  // namespace halfback
