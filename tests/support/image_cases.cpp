#include "halfback/layers/batch_norm.h"
#include "halfback/layers/classifier_head.h"
#include "halfback/layers/convolution.h"
#include "halfback/layers/layered_loss.h"
#include "halfback/layers/linear.h"
#include "halfback/layers/pooling.h"
#include "halfback/layers/relu.h"
#include "halfback/layers/residual_block.h"
#include "halfback/layers/shapes.h"
#include "halfback/layers/similarity_loss.h"
#include "tests/support/image_references.h"
#include "tests/support/layer_cases.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/adaptive_avg_pool2d.h>
#include <ATen/ops/relu.h>

#include <utility>

namespace halfback {

namespace {

using Shape = std::vector<std::int64_t>;

constexpr double kEpsilon = 0.02;  // large, so that one left out is seen

std::string text(const Shape& shape) {
  std::string joined;
  for (const std::int64_t size : shape) {
    joined += (joined.empty() ? "" : "x") + std::to_string(size);
  }
  return joined;
}

LayerCase convolution_case(const Shape& shape, Convolution::Options options) {
  options.num_inputs = shape[1];
  options.num_dimensions = static_cast<std::int64_t>(shape.size()) - 2;
  return {.name = "Convolution" + text(shape) + "to" + std::to_string(options.num_outputs) +
                  "Window" + text({options.window, options.stride, options.padding}) +
                  (options.has_bias ? "Bias" : "") + (options.has_data_input ? "Data" : ""),
          .input_shape = shape,
          .make = [=](at::ScalarType) { return std::make_unique<Convolution>("conv", options); },
          .reference =
              [=](const auto& values, const at::Tensor& x) {
                return convolution_reference(values, x, options.stride, options.padding);
              },
          .reads_data = options.has_data_input,
          .fixed = {1}};
}

LayerCase batch_norm_case(const Shape& shape, bool has_relu) {
  return {.name = "BatchNorm" + text(shape) + (has_relu ? "Relu" : ""),
          .input_shape = shape,
          .make =
              [=](at::ScalarType) {
                return std::make_unique<BatchNorm>(
                    "bn", BatchNorm::Options{
                              .num_channels = shape[1], .has_relu = has_relu, .epsilon = kEpsilon});
              },
          .reference =
              [=](const auto& values, const at::Tensor& x) {
                const at::Tensor y = batch_norm_reference(values[0], values[1], x, kEpsilon);
                return has_relu ? at::relu(y) : y;
              },
          .fixed = {1}};
}

template <typename Kind>
LayerCase simple_case(const std::string& name,
                      const Shape& shape,
                      const std::function<at::Tensor(const at::Tensor&)>& reference) {
  return {.name = name + text(shape),
          .input_shape = shape,
          .make = [](at::ScalarType) { return std::make_unique<Kind>(); },
          .reference = [=](const auto&, const at::Tensor& x) { return reference(x); },
          .fixed = {1}};
}

LayerCase max_pool_case(const Shape& shape, const kernels::PoolWindow& window) {
  return {
      .name =
          "MaxPool" + text(shape) + "Window" + text({window.size, window.stride, window.padding}),
      .input_shape = shape,
      .make = [=](at::ScalarType) { return std::make_unique<MaxPool>(window); },
      .reference = [=](const auto&, const at::Tensor& x) { return max_pool_reference(x, window); },
      .fixed = {1}};
}

LayerCase data_linear_case(const Shape& shape, std::int64_t outputs) {
  return {.name = "LinearData" + text(shape),
          .input_shape = shape,
          .make =
              [=](at::ScalarType) {
                return std::make_unique<Linear>("linear", LinearOptions{.num_inputs = shape.back(),
                                                                        .num_outputs = outputs,
                                                                        .has_bias = true,
                                                                        .has_data_input = true});
              },
          .reference = linear_reference,
          .reads_data = true};
}

LayerCase classifier_case(const Shape& shape, std::int64_t num_classes) {
  const std::int64_t rows = numel(shape) / shape.back();
  return {.name = "Classifier" + text(shape) + "to" + std::to_string(num_classes),
          .input_shape = shape,
          .make =
              [=](at::ScalarType) {
                return std::make_unique<LossAsLayer>(
                    std::make_unique<ClassifierHead>(
                        "fc", ClassifierHead::Options{.num_channels = shape.back(),
                                                      .num_classes = num_classes}),
                    some_targets_of_rows(num_classes));
              },
          .reference =
              [=](const auto& values, const at::Tensor& x) {
                return classifier_reference(values, x, some_targets(rows, num_classes));
              }};
}

// conv3x3, norm and ReLU, conv3x3, norm; a shortcut of conv1x1 and norm when something changes.
std::unique_ptr<Layer> make_residual(std::int64_t inputs,
                                     std::int64_t outputs,
                                     std::int64_t stride) {
  const auto convolution = [](std::int64_t from, const Convolution::Options& options) {
    Convolution::Options all = options;
    all.num_inputs = from;
    return std::make_unique<Convolution>("conv", all);
  };
  const auto norm = [=](bool has_relu) {
    return std::make_unique<BatchNorm>(
        "bn",
        BatchNorm::Options{.num_channels = outputs, .has_relu = has_relu, .epsilon = kEpsilon});
  };
  ResidualBlock::Branch main;
  ResidualBlock::Branch shortcut;
  main.push_back(
      convolution(inputs, {.num_outputs = outputs, .window = 3, .stride = stride, .padding = 1}));
  main.push_back(norm(true));
  main.push_back(convolution(outputs, {.num_outputs = outputs, .window = 3, .padding = 1}));
  main.push_back(norm(false));
  if (inputs != outputs || stride > 1) {
    shortcut.push_back(convolution(inputs, {.num_outputs = outputs, .stride = stride}));
    shortcut.push_back(norm(false));
  }
  return std::make_unique<ResidualBlock>(std::move(main), std::move(shortcut));
}

LayerCase residual_case(const Shape& shape, std::int64_t outputs, std::int64_t stride) {
  return {.name = "Residual" + text(shape) + "to" + std::to_string(outputs) + "Stride" +
                  std::to_string(stride),
          .input_shape = shape,
          .make = [=](at::ScalarType) { return make_residual(shape[1], outputs, stride); },
          .reference =
              [=](const auto& values, const at::Tensor& x) {
                return residual_reference(values, x, stride, kEpsilon);
              },
          .fixed = {1}};
}

LayerCase average_pool_case(const Shape& shape, const AveragePool::Options& options) {
  return {.name = "AveragePool" + text(shape) + "to" + text({options.grid, options.divisor}),
          .input_shape = shape,
          .make = [=](at::ScalarType) { return std::make_unique<AveragePool>(options); },
          .reference =
              [=](const auto&, const at::Tensor& x) {
                const auto side = [&](std::int64_t size) {
                  return options.divisor > 0 ? (size + options.divisor - 1) / options.divisor
                                             : options.grid;
                };
                return at::adaptive_avg_pool2d(x, {side(x.size(2)), side(x.size(3))});
              },
          .fixed = {1}};
}

// A hidden layer, ReLU and a classifier.
LayerCase layered_case(const Shape& shape, std::int64_t num_classes) {
  const std::int64_t channels = shape.back();
  const std::int64_t rows = numel(shape) / channels;
  return {
      .name = "LayeredLoss" + text(shape) + "to" + std::to_string(num_classes),
      .input_shape = shape,
      .make =
          [=](at::ScalarType) {
            std::vector<std::unique_ptr<Layer>> layers;
            layers.push_back(std::make_unique<Linear>(
                "hidden",
                LinearOptions{.num_inputs = channels, .num_outputs = channels, .has_bias = true}));
            layers.push_back(std::make_unique<Relu>());
            return std::make_unique<LossAsLayer>(
                std::make_unique<LayeredLoss>(
                    std::move(layers),
                    std::make_unique<ClassifierHead>(
                        "fc", ClassifierHead::Options{.num_channels = channels,
                                                      .num_classes = num_classes})),
                some_targets_of_rows(num_classes));
          },
      .reference =
          [=](const auto& values, const at::Tensor& x) {
            const at::Tensor hidden = at::relu(linear_reference({values[0], values[1]}, x));
            return classifier_reference({values[2], values[3]}, hidden,
                                        some_targets(rows, num_classes));
          }};
}

// Of vectors as they are.
LayerCase similarity_case(const Shape& shape, std::int64_t num_classes) {
  return {.name = "Similarity" + text(shape) + "to" + std::to_string(num_classes),
          .input_shape = shape,
          .make =
              [=](at::ScalarType) {
                return std::make_unique<LossAsLayer>(
                    std::make_unique<SimilarityLoss>(std::make_unique<Flatten>(), num_classes),
                    some_targets_of_rows(num_classes));
              },
          .reference =
              [=](const auto&, const at::Tensor& x) {
                return similarity_reference(x, some_targets(shape[0], num_classes), num_classes);
              }};
}

// Of images after a convolution.
LayerCase similarity_of_images_case(const Shape& shape, std::int64_t num_classes) {
  const auto targets = [=](at::IntArrayRef input) { return some_targets(input[0], num_classes); };
  return {.name = "Similarity" + text(shape) + "to" + std::to_string(num_classes),
          .input_shape = shape,
          .make =
              [=](at::ScalarType) {
                return std::make_unique<LossAsLayer>(
                    std::make_unique<SimilarityLoss>(
                        std::make_unique<Convolution>("map",
                                                      Convolution::Options{.num_inputs = shape[1],
                                                                           .num_outputs = shape[1],
                                                                           .window = 3,
                                                                           .padding = 1}),
                        num_classes),
                    targets);
              },
          .reference =
              [=](const auto& values, const at::Tensor& x) {
                return similarity_reference(
                    deviation_reference(convolution_reference(values, x, 1, 1)), targets(x.sizes()),
                    num_classes);
              },
          .fixed = {1}};
}

// After a linear map, beside a classifier: both keep the input.
LayerCase similarity_beside_case(const Shape& shape, std::int64_t num_classes) {
  return {.name = "SimilarityBeside" + text(shape) + "to" + std::to_string(num_classes),
          .input_shape = shape,
          .make =
              [=](at::ScalarType) {
                return std::make_unique<LossAsLayer>(
                    std::make_unique<SimilarityLoss>(
                        std::make_unique<Linear>(
                            "map", LinearOptions{.num_inputs = shape[1], .num_outputs = shape[1]}),
                        num_classes,
                        LossBeside{.loss = std::make_unique<ClassifierHead>(
                                       "fc", ClassifierHead::Options{.num_channels = shape[1],
                                                                     .num_classes = num_classes}),
                                   .keeps_input = true}),
                    some_targets_of_rows(num_classes));
              },
          .reference =
              [=](const auto& values, const at::Tensor& x) {
                const at::Tensor targets = some_targets(shape[0], num_classes);
                return 0.99 * similarity_reference(linear_reference({values[0]}, x), targets,
                                                   num_classes) +
                       0.01 * classifier_reference({values[1], values[2]}, x, targets);
              }};
}

}  // namespace

std::vector<LayerCase> convolution_cases() {
  return {
      convolution_case({2, 3, 5, 6}, {.num_outputs = 4, .window = 3, .padding = 1}),
      convolution_case({2, 3, 5, 6},
                       {.num_outputs = 4, .window = 3, .padding = 1, .has_bias = true}),
      convolution_case({3, 2, 7, 7}, {.num_outputs = 5, .window = 3, .stride = 2, .padding = 1}),
      convolution_case({1, 3, 9, 8}, {.num_outputs = 2, .window = 7, .stride = 2, .padding = 3}),
      convolution_case({2, 4, 5, 5}, {.num_outputs = 3, .stride = 2}),
      convolution_case({3, 16, 3, 1}, {.num_outputs = 7, .window = 3, .stride = 2, .padding = 1}),
      convolution_case({1, 1, 1, 1}, {.num_outputs = 1, .has_bias = true}),
      convolution_case({17, 2, 3, 3}, {.num_outputs = 3, .window = 3}),
      convolution_case({2, 3, 6, 6},
                       {.num_outputs = 4, .window = 3, .padding = 1, .has_data_input = true}),
      convolution_case(
          {2, 3, 9}, {.num_outputs = 4, .window = 3, .stride = 2, .padding = 1, .has_bias = true}),
      convolution_case({3, 2, 10}, {.num_outputs = 5, .window = 4}),
      convolution_case({1, 1, 1}, {.num_outputs = 1, .window = 3, .padding = 1}),
      convolution_case({2, 3, 8}, {.num_outputs = 2, .window = 2, .has_data_input = true}),
  };
}

std::vector<LayerCase> batch_norm_cases() {
  return {batch_norm_case({4, 3, 5, 5}, false),  batch_norm_case({4, 3, 5, 5}, true),
          batch_norm_case({1, 2, 3, 1}, true),   batch_norm_case({17, 1, 1, 1}, false),
          batch_norm_case({2, 17, 4, 5}, false), batch_norm_case({3, 5, 7}, true)};
}

std::vector<LayerCase> image_cases() {
  const auto flat = [](const at::Tensor& x) { return x.flatten(1); };
  const auto mean = [](const at::Tensor& x) { return x.mean({2, 3}); };
  const auto positive = [](const at::Tensor& x) { return at::relu(x); };
  std::vector<LayerCase> all = {
      simple_case<Relu>("Relu", {4, 6}, positive),
      simple_case<Relu>("Relu", {2, 3, 5, 7}, positive),
      simple_case<Relu>("Relu", {1, 1}, positive),
      max_pool_case({2, 3, 8, 7}, {.size = 3, .stride = 2, .padding = 1}),
      max_pool_case({1, 2, 9, 9}, {.size = 3, .stride = 1}),
      max_pool_case({2, 2, 6, 6}, {.size = 2, .stride = 2}),
      max_pool_case({1, 1, 1, 1}, {.size = 3, .stride = 2, .padding = 1}),
      simple_case<GlobalAveragePool>("GlobalAveragePool", {2, 3, 4, 5}, mean),
      simple_case<GlobalAveragePool>("GlobalAveragePool", {1, 1, 1, 1}, mean),
      average_pool_case({2, 3, 7, 5}, {.grid = 2}),
      average_pool_case({1, 2, 9, 8}, {.divisor = 4}),
      average_pool_case({2, 1, 1, 1}, {.grid = 2}),
      simple_case<Flatten>("Flatten", {2, 3, 4, 5}, flat),
      simple_case<Flatten>("Flatten", {2, 3}, flat),
      data_linear_case({4, 6}, 5),
      classifier_case({4, 6}, 5),
      classifier_case({1, 10}, 2),
      classifier_case({35, 3}, 17),
      layered_case({5, 6}, 3),
      layered_case({1, 2}, 4),
      similarity_case({5, 6}, 3),
      similarity_case({3, 17}, 10),
      similarity_of_images_case({4, 3, 3, 2}, 5),
      similarity_beside_case({5, 6}, 3),
      residual_case({2, 3, 5, 5}, 3, 1),
      residual_case({2, 3, 5, 6}, 5, 2),
      residual_case({3, 2, 4, 4}, 4, 1),
  };
  for (const auto& more : {convolution_cases(), batch_norm_cases()}) {
    all.insert(all.end(), more.begin(), more.end());
  }
  return all;
}

}  // namespace halfback
