// halfback_matrix_products: GFLOP/s of the three float32 products of a linear map, with ATen and
// with halfback/kernels/matrix_product.h, in alternating rounds, as JSON.
#include "halfback/engine/clock.h"
#include "halfback/engine/runtime.h"
#include "halfback/kernels/matrix_product.h"

#include <ATen/Parallel.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <CLI/CLI.hpp>
#include <c10/core/InferenceMode.h>
#include <nlohmann/json.hpp>
#include <torch/version.h>

#include <functional>
#include <iostream>
#include <string>
#include <vector>

namespace {

using namespace halfback;

struct Sizes {
  std::int64_t rows;
  std::int64_t inputs;
  std::int64_t outputs;
};

// One product on both sides.
struct Contest {
  std::string name;
  std::function<void()> aten;
  std::function<void()> ours;
};

std::vector<Contest> contests(const Sizes& sizes) {
  const at::Tensor x = at::randn({sizes.rows, sizes.inputs});
  const at::Tensor w = at::randn({sizes.outputs, sizes.inputs});
  const at::Tensor g = at::randn({sizes.rows, sizes.outputs});
  at::Tensor y = at::zeros({sizes.rows, sizes.outputs});
  at::Tensor gx = at::zeros({sizes.rows, sizes.inputs});
  at::Tensor gw = at::zeros({sizes.outputs, sizes.inputs});
  return {{"F: x W^T", [=]() mutable { at::mm_out(y, x, w.t()); },
           [=] { multiply(x, w.t(), y, Product::Overwrites); }},
          {"I: g W", [=]() mutable { at::mm_out(gx, g, w); },
           [=] { multiply(g, w, gx, Product::Overwrites); }},
          {"W: gW += g^T x", [=]() mutable { gw.addmm_(g.t(), x); },
           [=] { multiply(g.t(), x, gw, Product::Adds); }}};
}

double gigaflops(const std::function<void()>& product, const Sizes& sizes) {
  const double start = now_seconds();
  product();
  return 2e-9 * static_cast<double>(sizes.rows * sizes.inputs * sizes.outputs) /
         (now_seconds() - start);
}

nlohmann::json measure(int num_rounds) {
  nlohmann::json rows = nlohmann::json::array();
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    for (const Sizes& sizes : {Sizes{512, 256, 768}, Sizes{512, 512, 2752}, Sizes{512, 1376, 512},
                               Sizes{2048, 1024, 1024}}) {
      for (const Contest& one : contests(sizes)) {
        std::vector<double> aten;
        std::vector<double> ours;
        for (int round = -2; round < num_rounds; ++round) {
          const double first = gigaflops(one.aten, sizes);
          const double second = gigaflops(one.ours, sizes);
          if (round >= 0) {
            aten.push_back(first);
            ours.push_back(second);
          }
        }
        rows.push_back({{"threads", threads},
                        {"rows", sizes.rows},
                        {"inputs", sizes.inputs},
                        {"outputs", sizes.outputs},
                        {"product", one.name},
                        {"aten", aten},
                        {"ours", ours}});
      }
    }
  }
  return rows;
}

}  // namespace

int main(int argc, char** argv) {
  initialize_runtime();
  CLI::App app("Rates of matrix products by ATen and by Halfback.", "halfback_matrix_products");
  int num_rounds = 30;
  app.add_option("--rounds", num_rounds, "Measured rounds")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const c10::InferenceMode no_graph;
  std::cout << nlohmann::json{{"torch", TORCH_VERSION},
                              {"compiler", __VERSION__},
                              {"rounds", num_rounds},
                              {"warmup_rounds", 2},
                              {"rows", measure(num_rounds)}}
                   .dump()
            << '\n';
  return 0;
}
