// Layers without parameters between convolutions and linear layers: W has nothing to do.
//
// N images, C channels, H x W pixels.
#pragma once

#include "halfback/kernels/images.h"
#include "halfback/layers/layer.h"

namespace halfback {

// The largest value of each window; windows may overlap.
//   F  x [N, C, H, W] -> y [N, C, H', W'], H' = (H + 2 padding - size) / stride + 1; keeps one byte
//      an element of y until I: the place of the maximum in its window.
//   I  adds g at those places.
class MaxPool : public OneTensorLayer {
 public:
  explicit MaxPool(const kernels::PoolWindow& window) : window_(window) {}

  at::Tensor forward(const at::Tensor& input, Saved& saved, const Call& call) override;
  at::Tensor backward_input(const at::Tensor& grad_output, Saved& saved, const Call& call) override;
  SavedBytes saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const override;
  Shape output_shape(const Shape& input_shape) const override;

 private:
  kernels::PoolWindow window_;
};

// The mean of all pixels.
//   F  x [N, C, H, W] -> y [N, C]; keeps nothing but a shape.
//   I  g / (H W) for each pixel.
class GlobalAveragePool : public OneTensorLayer {
 public:
  at::Tensor forward(const at::Tensor& input, Saved& saved, const Call& call) override;
  at::Tensor backward_input(const at::Tensor& grad_output, Saved& saved, const Call& call) override;
  SavedBytes saved_bytes(const Shape&, std::int64_t) const override { return {}; }
  Shape output_shape(const Shape& input_shape) const override;
};

// The means of a grid of windows, which cover all pixels and overlap if the grid does not divide
// them: window i of G over S pixels is from floor(i S / G) to ceil((i + 1) S / G).
//   F  x [N, C, H, W] -> y [N, C, G, G'] with G = `grid`, or H / `divisor` rounded up if that is
//      given; keeps nothing but a shape.
//   I  adds g / window size to each pixel.
class AveragePool : public OneTensorLayer {
 public:
  struct Options {
    std::int64_t grid = 1;
    std::int64_t divisor = 0;
  };
  explicit AveragePool(const Options& options) : options_(options) {}

  at::Tensor forward(const at::Tensor& input, Saved& saved, const Call& call) override;
  at::Tensor backward_input(const at::Tensor& grad_output, Saved& saved, const Call& call) override;
  SavedBytes saved_bytes(const Shape&, std::int64_t) const override { return {}; }
  Shape output_shape(const Shape& input_shape) const override;

 private:
  Options options_;
};

// x [N, ...] -> y [N, rest], the same memory; likewise for g. Keeps only a shape. Its input may be
// the mini-batch's: then neither y nor x has a gradient.
class Flatten : public OneTensorLayer {
 public:
  at::Tensor forward(const at::Tensor& input, Saved& saved, const Call& call) override;
  at::Tensor backward_input(const at::Tensor& grad_output, Saved& saved, const Call& call) override;
  SavedBytes saved_bytes(const Shape&, std::int64_t) const override { return {}; }
  Shape output_shape(const Shape& input_shape) const override;
};

}  // namespace halfback
