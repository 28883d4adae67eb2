#include "halfback/kernels/matrix_product.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdint>

#ifdef HALFBACK_HAS_MKLDNN_MATMUL
// libtorch exports it without a header: result = beta result + alpha a b.
namespace at::native {
void mkldnn_matmul(const Tensor& a, const Tensor& b, const Tensor& result, float beta, float alpha);
}  // namespace at::native
#endif

namespace halfback {

namespace {

#ifdef HALFBACK_HAS_MKLDNN_MATMUL

// ATen is faster below these sizes. Besides, oneDNN uses other kernels for narrow matrices.
constexpr std::int64_t kLeastSize = 32;
constexpr std::int64_t kLeastWork = 1 << 21;

// From 2048 on, oneDNN may split a sum among its threads, so bits would depend on their number.
constexpr std::int64_t kLongestSum = 1536;

// libtorch refuses it on processors without AVX-512. It is asked only once, because the answer is
// the same for all products.
bool takes_onednn() {
  static const bool takes = [] {
    try {
      const at::Tensor square = at::zeros({kLeastSize, kLeastSize});
      at::native::mkldnn_matmul(square, square, at::zeros_like(square), 0.0F, 1.0F);
      return true;
    } catch (const c10::Error&) {
      return false;
    }
  }();
  return takes;
}

bool is_for_onednn(const at::Tensor& a, const at::Tensor& b) {
  const std::int64_t rows = a.size(0);
  const std::int64_t columns = b.size(1);
  const std::int64_t length = a.size(1);
  return a.is_cpu() && a.scalar_type() == at::kFloat &&
         std::min({rows, columns, length}) >= kLeastSize && rows * columns * length >= kLeastWork &&
         takes_onednn();
}

// Returns whether it did the product.
bool multiply_by_onednn(const at::Tensor& a,
                        const at::Tensor& b,
                        const at::Tensor& result,
                        Product product) {
  if (!is_for_onednn(a, b)) {
    return false;
  }
  for (std::int64_t first = 0; first < a.size(1); first += kLongestSum) {
    const std::int64_t length = std::min(kLongestSum, a.size(1) - first);
    const bool adds = product == Product::Adds || first > 0;
    at::native::mkldnn_matmul(a.narrow(1, first, length), b.narrow(0, first, length), result,
                              adds ? 1.0F : 0.0F, 1.0F);
  }
  return true;
}

#else

bool multiply_by_onednn(const at::Tensor& /*a*/,
                        const at::Tensor& /*b*/,
                        const at::Tensor& /*result*/,
                        Product /*product*/) {
  return false;
}

#endif

}  // namespace

void multiply(const at::Tensor& a, const at::Tensor& b, const at::Tensor& result, Product product) {
  if (multiply_by_onednn(a, b, result, product)) {
    return;
  }
  at::Tensor written = result;
  if (product == Product::Adds) {
    written.addmm_(a, b);
  } else {
    at::mm_out(written, a, b);
  }
}

at::Tensor multiply(const at::Tensor& a, const at::Tensor& b) {
  at::Tensor result = at::empty({a.size(0), b.size(1)}, a.options());
  multiply(a, b, result, Product::Overwrites);
  return result;
}

}  // namespace halfback
