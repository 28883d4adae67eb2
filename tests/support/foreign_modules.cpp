#include "tests/support/foreign_modules.h"

#include "halfback/layers/shapes.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/lstm.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <utility>

namespace halfback {

namespace {

using Shape = std::vector<std::int64_t>;
using Values = std::vector<at::Tensor>;
using Input = AutogradLayer::Options::Input;

constexpr double kEpsilon = 0.02;

at::Tensor norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return at::layer_norm(x, {x.size(-1)}, weight, bias, kEpsilon);
}

// [N, T, C] to [N, H, T, D].
at::Tensor heads_of(const at::Tensor& x, std::int64_t heads) {
  return x.view({x.size(0), x.size(1), heads, -1}).transpose(1, 2);
}

// Attention written out, its three matrices by themselves.
ForeignFunction plain_attention(std::int64_t channels, std::int64_t heads) {
  const Shape square = {channels, channels};
  return {.shapes = {square, square, square, square, {channels}},
          .function = [=](const Values& w, const at::Tensor& x) {
            const at::Tensor query = heads_of(at::linear(x, w[0]), heads);
            const at::Tensor key = heads_of(at::linear(x, w[1]), heads);
            const at::Tensor value = heads_of(at::linear(x, w[2]), heads);
            const double scale = 1.0 / std::sqrt(static_cast<double>(query.size(-1)));
            const at::Tensor shares =
                at::softmax(at::matmul(query, key.transpose(2, 3)) * scale, -1);
            const at::Tensor read = at::matmul(shares, value).transpose(1, 2).flatten(2);
            return at::linear(read, w[3], w[4]);
          }};
}

ForeignFunction one_linear_three_times(std::int64_t channels) {
  return {.shapes = {{channels, channels}, {channels}},
          .function = [](const Values& w, const at::Tensor& x) {
            at::Tensor y = x;
            for (int i = 0; i < 3; ++i) {
              y = at::tanh(at::linear(y, w[0], w[1]));
            }
            return y;  // the last node saves it
          }};
}

ForeignFunction image_block(std::int64_t channels) {
  const Shape row = {channels};
  return {
      .shapes = {{channels, channels, 3, 3}, row, row, {channels, channels / 2, 3, 3}, row, row},
      .function = [=](const Values& w, const at::Tensor& x) {
        at::Tensor y = at::conv2d(x, w[0], {}, 1, 1);
        y = at::batch_norm(y, w[1], w[2], {}, {}, /*training=*/true, 0.1, kEpsilon, false);
        y.relu_();
        y = at::conv2d(y, w[3], {}, 1, 1, 1, /*groups=*/2);
        return at::group_norm(y, 2, w[4], w[5], kEpsilon) + x;
      }};
}

ForeignFunction lstm_of_two_layers(std::int64_t inputs, std::int64_t hidden) {
  const std::int64_t gates = 4 * hidden;
  return {.shapes = {{gates, inputs},
                     {gates, hidden},
                     {gates},
                     {gates},
                     {gates, hidden},
                     {gates, hidden},
                     {gates},
                     {gates}},
          .function = [=](const Values& w, const at::Tensor& x) {
            const at::Tensor zero = at::zeros({2, x.size(0), hidden}, x.options());
            return std::get<0>(at::lstm(x, {zero, zero}, w, /*has_biases=*/true, /*num_layers=*/2,
                                        /*dropout=*/0.0, /*train=*/true, /*bidirectional=*/false,
                                        /*batch_first=*/true));
          }};
}

// Rows of numbers that are read twice, by nodes of one kind and of two; a matrix that is added; an
// output that is turned.
ForeignFunction odd_uses(std::int64_t length, std::int64_t channels) {
  return {.shapes = {{channels}, {channels}, {length, channels}, {channels}, {channels, channels}},
          .function = [](const Values& w, const at::Tensor& x) {
            const at::Tensor once = norm(x * w[3], w[0], w[1]) + w[2];
            return norm(at::linear(once, w[4], w[3]), w[0], w[1]).transpose(1, 2);
          }};
}

// Parts of a tensor are written over, by functions of parameters too.
ForeignFunction written_parts(std::int64_t rows, std::int64_t channels) {
  return {.shapes = {{channels, channels}, {rows, 2}, {1, channels}},
          .function = [](const Values& w, const at::Tensor& x) {
            const at::Tensor y = at::linear(x, w[0]);
            y.narrow(1, 0, 2).mul_(w[1]);
            y.narrow(1, 2, 1).copy_(at::linear(at::tanh(y), w[2]));
            return y * x;
          }};
}

ForeignFunction table(std::int64_t vocabulary, std::int64_t channels) {
  return {.shapes = {{vocabulary, channels}, {channels, channels}},
          .function = [](const Values& w, const at::Tensor& ids) {
            return at::linear(at::embedding(w[0], ids), w[1]);
          }};
}

ForeignFunction map(std::int64_t inputs, std::int64_t outputs) {
  return {.shapes = {{outputs, inputs}, {outputs}},
          .function = [](const Values& w, const at::Tensor& x) {
            return at::gelu(at::linear(x, w[0], w[1]));
          }};
}

ForeignFunction no_parameters() {
  return {.shapes = {}, .function = [](const Values& /*w*/, const at::Tensor& x) {
            return at::relu(x).flatten(1);
          }};
}

LayerCase foreign_case(std::string name,
                       const Shape& input,
                       const ForeignFunction& function,
                       const AutogradLayer::Options& options = {},
                       std::vector<std::size_t> fixed = {}) {
  name = "Foreign" + name;
  return {.name = name,
          .input_shape = input,
          .vocabulary = options.input == Input::Ids ? function.shapes[0][0] : 0,
          .make =
              [=](at::ScalarType dtype) {
                return std::make_unique<AutogradLayer>(make_module(name, function, dtype), options);
              },
          .reference = function.function,
          .reads_data = options.input == Input::Data,
          .fixed = std::move(fixed)};
}

}  // namespace

ForeignModule make_module(const std::string& name,
                          const ForeignFunction& function,
                          at::ScalarType dtype) {
  ForeignModule module{.name = name, .forward = {}};
  Values values;
  for (const Shape& shape : function.shapes) {
    values.push_back(at::zeros(shape, dtype).set_requires_grad(true));
    module.parameters.push_back({std::to_string(module.parameters.size()), values.back()});
  }
  module.forward = [values, call = function.function](const Tensors& inputs, const Call&) {
    Tensors outputs = inputs;
    outputs.front() = call(values, inputs.front());
    return outputs;
  };
  return module;
}

ForeignFunction mlp_block(std::int64_t channels, std::int64_t hidden) {
  return {
      .shapes =
          {{channels}, {channels}, {hidden, channels}, {hidden}, {channels, hidden}, {channels}},
      .function = [](const Values& w, const at::Tensor& x) {
        const at::Tensor inner = at::gelu(at::linear(norm(x, w[0], w[1]), w[2], w[3]));
        return x + at::linear(inner, w[4], w[5]);
      }};
}

ForeignFunction attention_block(std::int64_t channels, std::int64_t heads) {
  return {.shapes = {{channels}, {channels}, {3 * channels, channels}, {channels, channels}},
          .function = [=](const Values& w, const at::Tensor& x) {
            const auto packed = at::linear(norm(x, w[0], w[1]), w[2]).chunk(3, -1);
            const at::Tensor read = at::scaled_dot_product_attention(
                heads_of(packed[0], heads), heads_of(packed[1], heads), heads_of(packed[2], heads),
                {}, 0.0, /*is_causal=*/true);
            return x + at::linear(read.transpose(1, 2).flatten(2), w[3]);
          }};
}

std::vector<LayerCase> foreign_cases() {
  constexpr auto kTogether = AutogradGraph::Halves::Together;
  return {foreign_case("MlpBlock", {2, 3, 6}, mlp_block(6, 10)),
          foreign_case("MlpBlockTogether", {2, 3, 6}, mlp_block(6, 10), {.halves = kTogether}),
          foreign_case("AttentionBlock", {2, 5, 8}, attention_block(8, 2)),
          foreign_case("PlainAttention", {2, 5, 8}, plain_attention(8, 2)),
          foreign_case("OneLinearThreeTimes", {4, 6}, one_linear_three_times(6)),
          foreign_case("ImageBlock", {2, 4, 5, 3}, image_block(4), {}, {1}),
          foreign_case("Lstm", {2, 4, 3}, lstm_of_two_layers(3, 5)),
          foreign_case("OddUses", {2, 3, 5}, odd_uses(3, 5), {}, {1, 2}),
          foreign_case("WrittenParts", {4, 5}, written_parts(4, 5), {}, {0, 1}),
          foreign_case("NoParameters", {2, 3, 5}, no_parameters()),
          foreign_case("Table", {2, 4}, table(7, 3), {.input = Input::Ids}),
          foreign_case("OfData", {3, 4}, map(4, 5), {.input = Input::Data})};
}

}  // namespace halfback
