// Recompute: layers that save less in the forward and recompute it in the backward. Results have
// the same bits.
//
//   recomputes_forward    F keeps only the input; I runs F again.
//     Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174.
//   recomputes_gradients  I returns the gradient of the input and keeps only the gradient of the
//     output, instead of those of the layers inside; W runs I again. The 2BP paper proposes it:
//     intermediate-derivative checkpointing, arXiv:2405.18047.
//
// B, the fused backward, needs neither a second I nor kept gradients.
#pragma once

#include "halfback/layers/sequence.h"

namespace halfback {

struct RecomputePolicy {
  bool recomputes_forward = false;
  bool recomputes_gradients = false;

  bool operator==(const RecomputePolicy&) const = default;
};

class Recomputed final : public Sequence {
 public:
  Recomputed(std::vector<std::unique_ptr<Layer>> layers, const RecomputePolicy& policy);

  Tensors forward(Tensors inputs, Saved& saved, const Call& call) override;
  Tensors backward_input(Tensors grad_outputs, Saved& saved, const Call& call) override;
  Tensors backward(Tensors grad_outputs, Saved& saved, const Call& call) override;
  void backward_weight(std::span<Saved*> saved) override;
  Described describe(std::vector<Shape> shapes, std::int64_t element_bytes) const override;

 private:
  // Recomputes what a forward would have kept.
  void restore(Saved& saved, const Call& call);
  // Recomputes what W of the layers needs.
  void prepare_weight(Saved& saved);

  RecomputePolicy policy_;
};

}  // namespace halfback
