// Products of matrices. On the CPU, large ones in float32 go to oneDNN, which ATen itself asks for
// smaller types only: on processors that MKL has no kernels of its own for, oneDNN is twice as fast
// (bench/matrix_products.py). Where libtorch has no oneDNN for float32, all are ATen's.
#pragma once

#include <ATen/core/Tensor.h>

namespace halfback {

enum class Product {
  Overwrites,  // result = a b, whatever it held
  Adds,        // result += a b
};

// a is [M, K], b [K, N], result [M, N] and contiguous. The same bits on any number of threads (MKL,
// where it is asked, as initialize_runtime() sets it).
void multiply(const at::Tensor& a, const at::Tensor& b, const at::Tensor& result, Product product);

}  // namespace halfback
