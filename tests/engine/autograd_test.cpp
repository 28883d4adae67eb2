// The plain run against libtorch's own autograd on the same model, and against hand-written
// optimizers: the reference has a reference.
#include "halfback/engine/plain_run.h"
#include "halfback/layers/attention.h"
#include "tests/support/small_model.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/nll_loss.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>
#include <gtest/gtest.h>

#include <cmath>

namespace halfback::testing {
namespace {

// The parameters of a PlainRun as leaves of a graph, taken in model order.
class Leaves {
 public:
  explicit Leaves(Stage& stage) {
    for (const Parameter* parameter : stage.store().parameters()) {
      all_.push_back(parameter->value.clone().set_requires_grad(true));
    }
  }
  const at::Tensor& next() { return all_[next_++]; }
  void rewind() { next_ = 0; }
  const std::vector<at::Tensor>& all() const { return all_; }

 private:
  std::vector<at::Tensor> all_;
  std::size_t next_ = 0;
};

class GraphModel {
 public:
  GraphModel(const LlamaConfig& config, Leaves& leaves)
      : config_(config),
        leaves_(leaves),
        angles_(rotary_angles({.length = config.sequence,
                               .head_size = config.width / config.num_heads,
                               .theta = config.rope_theta},
                              at::kFloat)) {}

  // Summed loss of one micro-batch.
  at::Tensor loss(const MicroBatch& batch) {
    leaves_.rewind();
    at::Tensor x = at::embedding(leaves_.next(), batch.inputs[0]);
    for (std::int64_t i = 0; i < config_.num_layers; ++i) {
      x = x + attention(x);
      x = x + feed_forward(x);
    }
    x = norm(x);
    const at::Tensor logits = at::linear(x, leaves_.next()).flatten(0, 1);
    return at::nll_loss(at::log_softmax(logits, 1), batch.targets.flatten(), {},
                        at::Reduction::Sum);
  }

 private:
  at::Tensor norm(const at::Tensor& x) {
    return at::rms_norm(x, {config_.width}, leaves_.next(), config_.norm_epsilon);
  }

  at::Tensor rotate(const at::Tensor& heads) const {
    const std::int64_t length = heads.size(2);
    const at::Tensor cosine = angles_.cosine.narrow(0, 0, length);
    const at::Tensor sine = angles_.sine.narrow(0, 0, length);
    const std::int64_t half = heads.size(3) / 2;
    const at::Tensor a = heads.narrow(3, 0, half);
    const at::Tensor b = heads.narrow(3, half, half);
    return at::cat({a * cosine - b * sine, b * cosine + a * sine}, 3);
  }

  at::Tensor attention(const at::Tensor& x) {
    const std::int64_t heads = config_.num_heads;
    const std::int64_t pairs = config_.num_key_value_heads;
    const at::Tensor normed = norm(x);
    const at::Tensor packed =
        at::linear(normed, leaves_.next())
            .view({x.size(0), x.size(1), heads + 2 * pairs, config_.width / heads})
            .transpose(1, 2);
    const at::Tensor query = rotate(packed.narrow(1, 0, heads));
    const at::Tensor key =
        rotate(packed.narrow(1, heads, pairs)).repeat_interleave(heads / pairs, 1);
    const at::Tensor value =
        packed.narrow(1, heads + pairs, pairs).repeat_interleave(heads / pairs, 1);
    const at::Tensor out =
        at::scaled_dot_product_attention(query, key, value, {}, 0.0, /*is_causal=*/true);
    return at::linear(out.transpose(1, 2).flatten(2), leaves_.next());
  }

  at::Tensor feed_forward(const at::Tensor& x) {
    const at::Tensor normed = norm(x);
    const at::Tensor gate_up = at::linear(normed, leaves_.next());
    const at::Tensor gate = gate_up.narrow(2, 0, config_.hidden);
    const at::Tensor up = gate_up.narrow(2, config_.hidden, config_.hidden);
    return at::linear(at::silu(gate) * up, leaves_.next());
  }

  LlamaConfig config_;
  Leaves& leaves_;
  RotaryAngles angles_;
};

PlainRun make_plain(const PipelineOptions& options) {
  return PlainRun(std::move(build_llama(small_llama(), {4}).front()), options.stage,
                  options.update);
}

std::vector<double> numbers(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.contiguous();
  const auto* values = flat.const_data_ptr<float>();
  return {values, values + flat.numel()};
}

TEST(AutogradTest, PlainGradientsEqualThoseOfAutograd) {
  PlainRun plain = make_plain(parity_options());
  plain.initialize(7);
  move_vectors(plain.stage());
  const auto batches = make_batches({.num_micro_batches = 3});
  Leaves leaves(plain.stage());
  GraphModel graph(small_llama(), leaves);
  double loss = 0.0;
  double targets = 0.0;
  for (const MicroBatch& batch : batches) {
    targets += static_cast<double>(batch.targets.numel());
  }
  for (const MicroBatch& batch : batches) {
    const at::Tensor scaled = graph.loss(batch) / targets;
    scaled.backward();
    loss += scaled.item<double>();
  }
  const auto found = plain.accumulate_gradients(batches);
  EXPECT_NEAR(found.loss, loss, 1e-5 * loss);
  const auto& parameters = plain.stage().store().parameters();
  ASSERT_EQ(parameters.size(), leaves.all().size());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_LT(
        relative_difference(numbers(parameters[i]->gradient), numbers(leaves.all()[i].grad())),
        1e-5)
        << parameters[i]->name;
  }
}

}  // namespace
}  // namespace halfback::testing
