// The base of norms over the last dimension C of rows [M, C].
//
//   F  keeps x and some statistics of each row until I.
//   I  reads x and g once to make the gradient of x and this micro-batch's gradients of the
//      parameters, a few times C numbers. Only these wait for W.
//   W  adds those.
#pragma once

#include "halfback/layers/layer.h"

namespace halfback {

class Norm : public OneTensorLayer {
 public:
  at::Tensor forward(const at::Tensor& input, Saved& saved, const Call& call) override;
  at::Tensor backward_input(const at::Tensor& grad_output, Saved& saved, const Call& call) override;
  void backward_weight(std::span<Saved*> saved) override;
  SavedBytes saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const override;

  // For layers that hold a norm: the same on rows [M, C] without a Saved.
  struct Normed {
    at::Tensor output;
    at::Tensor statistics;  // num_statistics() for each row
  };
  virtual Normed normalize(const at::Tensor& rows) const = 0;

  struct Gradients {
    at::Tensor input;       // overwrites the memory of g
    at::Tensor parameters;  // [parameters, C]
    at::Tensor output;      // the forward's output, recomputed on request
  };
  struct Backward {
    const at::Tensor& rows;
    const at::Tensor& statistics;
    at::Tensor grad_output;
    at::Tensor residual = {};  // added to the gradient of the input if given
    bool makes_output = true;
  };
  virtual Gradients backward(Backward arguments) const = 0;

  // Adds what backward() found for the parameters.
  virtual void accumulate_gradients(const at::Tensor& parameters) = 0;

  // The count of numbers that normalize() keeps for each row, and of parameters with C numbers
  // each.
  virtual std::int64_t num_statistics() const = 0;
  virtual std::int64_t num_parameters() const = 0;
};

}  // namespace halfback
