// Finds the memory that outlives a computation: notes the storage of every tensor that operators of
// this thread return, and lists those still alive. It counts what a libtorch graph keeps, for which
// libtorch has no function.
#pragma once

#include "halfback/layers/saved.h"

#include <ATen/core/Tensor.h>
#include <c10/core/StorageImpl.h>
#include <c10/util/intrusive_ptr.h>

#include <cstdint>
#include <unordered_map>

namespace halfback {

class StorageWatch {
 public:
  // Watches while it exists; only one per thread at a time.
  StorageWatch();
  StorageWatch(const StorageWatch&) = delete;
  StorageWatch& operator=(const StorageWatch&) = delete;
  ~StorageWatch();

  // Returns the storages that are alive, with their bytes. While the watch lives, no new storage
  // reuses the address of a freed one.
  using Alive = std::unordered_map<const c10::StorageImpl*, std::int64_t>;
  Alive alive() const;

  void note(const at::Tensor& tensor);

 private:
  std::unordered_map<const c10::StorageImpl*, c10::weak_intrusive_ptr<c10::StorageImpl>> seen_;
  std::uint64_t callback_;
};

// Returns the bytes of what was alive after F and after I, without what still is after W: that
// belongs to somebody else.
SavedBytes kept_bytes(const StorageWatch::Alive& after_forward,
                      const StorageWatch::Alive& after_input,
                      const StorageWatch::Alive& afterwards);

}  // namespace halfback
