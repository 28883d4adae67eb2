// Our own numbers as tensors that Gloo can send, without the allocator that counts memory by rank.
#pragma once

#include <ATen/ops/from_blob.h>
#include <c10/core/ScalarType.h>

#include <span>

namespace halfback {

// Returns a tensor over memory that must outlive it.
template <typename Number>
at::Tensor tensor_over(std::span<Number> numbers) {
  return at::from_blob(numbers.data(), {static_cast<std::int64_t>(numbers.size())},
                       at::TensorOptions(c10::CppTypeToScalarType<Number>::value));
}

}  // namespace halfback
