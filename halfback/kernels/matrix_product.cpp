#include "halfback/kernels/matrix_product.h"

#include "halfback/kernels/one_mkl_thread.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/InferenceMode.h>
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

// ATen is faster than oneDNN for less work, and one thread as fast as several.
constexpr std::int64_t kLeastWork = 1 << 21;

// Rows and columns of a block.
constexpr std::int64_t kBlock = 256;

#ifdef HALFBACK_HAS_MKLDNN_MATMUL

// oneDNN uses other kernels for narrow matrices.
constexpr std::int64_t kLeastSize = 32;

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

void multiply_by_aten(const at::Tensor& a,
                      const at::Tensor& b,
                      const at::Tensor& result,
                      Product product) {
  const OneMklThread alone;
  at::Tensor written = result;
  if (product == Product::Adds) {
    written.addmm_(a, b);
  } else {
    at::mm_out(written, a, b);
  }
}

// Our threads take blocks of the result, which are the same for any number of threads.
void multiply_in_blocks(const at::Tensor& a,
                        const at::Tensor& b,
                        const at::Tensor& result,
                        Product product) {
  const std::int64_t rows = result.size(0);
  const std::int64_t columns = result.size(1);
  const std::int64_t num_down = at::divup(rows, kBlock);
  const std::int64_t num_across = at::divup(columns, kBlock);
  const std::int64_t work = std::max<std::int64_t>(1, rows * columns * a.size(1));
  const std::int64_t num_blocks = num_down * num_across;
  at::parallel_for(0, num_blocks, at::divup(num_blocks * kLeastWork, work),
                   [&](std::int64_t begin, std::int64_t end) {
                     const c10::InferenceMode no_graph;
                     for (std::int64_t block = begin; block < end; ++block) {
                       const std::int64_t row = block / num_across * kBlock;
                       const std::int64_t column = block % num_across * kBlock;
                       const std::int64_t height = std::min(kBlock, rows - row);
                       const std::int64_t width = std::min(kBlock, columns - column);
                       multiply_by_aten(a.narrow(0, row, height), b.narrow(1, column, width),
                                        result.narrow(0, row, height).narrow(1, column, width),
                                        product);
                     }
                   });
}

}  // namespace

void multiply(const at::Tensor& a, const at::Tensor& b, const at::Tensor& result, Product product) {
  if (!multiply_by_onednn(a, b, result, product)) {
    const bool has_blocks = a.is_cpu() && std::max(result.size(0), result.size(1)) > kBlock;
    (has_blocks ? multiply_in_blocks : multiply_by_aten)(a, b, result, product);
  }
}

at::Tensor multiply(const at::Tensor& a, const at::Tensor& b) {
  at::Tensor result = at::empty({a.size(0), b.size(1)}, a.options());
  multiply(a, b, result, Product::Overwrites);
  return result;
}

}  // namespace halfback
