#include "halfback/engine/sharded_buffer.h"

#include <ATen/ops/zeros.h>

#include <utility>

namespace halfback {

ShardedBuffer::ShardedBuffer(std::string name,
                             at::Tensor own,
                             const ElementRange& range,
                             std::int64_t count)
    : name_(std::move(name)), own_(std::move(own)), range_(range), count_(count) {}

ShardedBuffer::ShardedBuffer(std::string name, at::Tensor whole)
    : ShardedBuffer(std::move(name), whole, {0, whole.numel()}, whole.numel()) {
  is_on_each_replica_ = true;
}

const at::Tensor& ShardedBuffer::whole() {
  if (!whole_.defined()) {
    whole_ = own_;
    if (is_sharded()) {
      whole_ = at::zeros({count_}, own_.options());
      whole_.narrow(0, range_.begin, range_.size()).copy_(own_);
    }
  }
  return whole_;
}

void ShardedBuffer::take_own() {
  if (is_sharded() && whole_.defined()) {
    own_.copy_(whole_.narrow(0, range_.begin, range_.size()));
  }
}

}  // namespace halfback
