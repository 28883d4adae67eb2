// y = x convolved with w (a correlation, as in torch), plus b, over one or two spatial dimensions.
// Square windows, one stride and one zero padding for all dimensions.
//
// With N images of C channels and H x W pixels, out channels O and H' x W' pixels of output:
//   F  x [N, C, H, W] -> y [N, O, H', W'], H' = (H + 2 padding - window) / stride + 1; keeps x
//      until W, unless x belongs to the mini-batch.
//   I  grad_x from g and w; keeps g until W.
//   W  grad_w [O, C, window, window] from g and x, grad_b += sum of g over images and pixels.
//
// The products are ATen's, which chooses algorithms by sizes and number of threads: bits are equal
// for equal sizes and numbers of threads.
#pragma once

#include "halfback/layers/layer.h"

namespace halfback {

class Convolution : public OneTensorLayer {
 public:
  struct Options {
    std::int64_t num_inputs = 0;   // channels
    std::int64_t num_outputs = 0;  // channels
    std::int64_t num_dimensions = 2;
    std::int64_t window = 1;
    std::int64_t stride = 1;
    std::int64_t padding = 0;
    bool has_bias = false;
    bool has_data_input = false;  // first of a model: x is the mini-batch's, I has no result
  };
  // The initial weight is normal with variance 2 / (O x window size), as in torchvision's ResNet:
  // He et al., "Delving Deep into Rectifiers", arXiv:1502.01852. The initial bias is 0.
  Convolution(const std::string& name, const Options& options);

  std::vector<Parameter*> parameters() override;
  at::Tensor forward(const at::Tensor& input, Saved& saved, const Call& call) override;
  at::Tensor backward_input(const at::Tensor& grad_output, Saved& saved, const Call& call) override;
  // Computes one product for each run of micro-batches with images of one size.
  void backward_weight(std::span<Saved*> saved) override;
  SavedBytes saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const override;
  Flops flops(const Shape& input_shape) const override;
  Shape output_shape(const Shape& input_shape) const override;

 private:
  // W for micro-batches with images of one size.
  void add_gradients(std::span<Saved*> saved);

  Options options_;
  std::vector<std::int64_t> stride_;   // by dimension, as ATen expects them
  std::vector<std::int64_t> padding_;  // by dimension
  Parameter weight_;
  Parameter bias_;
};

}  // namespace halfback
