// Matrix products. On the CPU, large float32 products go to oneDNN, which ATen itself uses only for
// smaller types. On processors without their own MKL kernels, oneDNN is twice as fast
// (bench/matrix_products.py). If libtorch has no oneDNN for float32, ATen computes all products.
#pragma once

#include <ATen/core/Tensor.h>

namespace halfback {

enum class Product {
  Overwrites,  // result = a b, whatever it held
  Adds,        // result += a b
};

// a is [M, K], b is [K, N], result is [M, N] and contiguous. The bits are the same for any number
// of threads.
void multiply(const at::Tensor& a, const at::Tensor& b, const at::Tensor& result, Product product);

// Returns a b.
at::Tensor multiply(const at::Tensor& a, const at::Tensor& b);

}  // namespace halfback
