#include "halfback/engine/plain_run.h"

#include <c10/core/InferenceMode.h>

#include <cmath>
#include <numeric>
#include <utility>

namespace halfback {

namespace {

std::vector<StageLayers> list_of(StageLayers one) {
  std::vector<StageLayers> list;
  list.push_back(std::move(one));
  return list;
}

}  // namespace

PlainRun::PlainRun(StageLayers whole,
                   const Stage::Options& options,
                   double clip_norm,
                   const LossScaleOptions& loss_scale)
    : PlainRun(list_of(std::move(whole)), options, clip_norm, loss_scale) {}

PlainRun::PlainRun(std::vector<StageLayers> whole,
                   const Stage::Options& options,
                   double clip_norm,
                   const LossScaleOptions& loss_scale)
    : layout_(lay_out(whole)),
      gradient_groups_(options.gradient_groups),
      stage_(std::move(whole.front()), options),
      clip_norm_(clip_norm),
      loss_scale_(loss_scale) {}

void PlainRun::initialize(std::uint64_t seed) {
  const c10::InferenceMode no_graph;
  stage_.store().initialize(seed, layout_.numbers.front());
}

PlainRun::Result PlainRun::accumulate_gradients(std::span<const MicroBatch> micro_batches,
                                                std::int64_t number) {
  const c10::InferenceMode no_graph;
  const auto targets = static_cast<double>(num_targets(micro_batches));
  stage_.begin_step(number);
  const double scale = loss_scale_.value() / targets;
  double loss = 0.0;
  std::vector<int> all(micro_batches.size());
  std::iota(all.begin(), all.end(), 0);
  for (std::size_t i = 0; i < micro_batches.size(); ++i) {
    const int index = all[i];
    loss += stage_.forward_loss(index, micro_batches[i].inputs, micro_batches[i].targets);
    stage_.backward_input(index, {}, scale);
    stage_.backward_weight({&index, 1});
    const std::size_t in_group = micro_batches.size() / static_cast<std::size_t>(gradient_groups_);
    if (gradient_groups_ > 1 && (i + 1) % in_group == 0) {
      stage_.store().end_gradient_group(i + 1 == micro_batches.size());
    }
  }
  stage_.finish_step(all);
  stage_.store().complete_gradients();
  for (const TiedPair& pair : layout_.tied) {
    Parameter& original = *stage_.store().parameters()[pair.original.parameter];
    Parameter& copy = *stage_.store().parameters()[pair.copy.parameter];
    original.gradient.add_(copy.gradient);
    copy.gradient.copy_(original.gradient);
  }
  stage_.store().scale_gradients(1.0 / loss_scale_.value());
  double squares = 0.0;
  for (const double square : stage_.store().squared_gradient_norms()) {
    squares += square;
  }
  return {.loss = loss / targets, .gradient_norm = std::sqrt(squares)};
}

PlainRun::Result PlainRun::train_step(std::span<const MicroBatch> micro_batches,
                                      std::int64_t number,
                                      double learning_rate) {
  const c10::InferenceMode no_graph;
  const Result result = accumulate_gradients(micro_batches, number);
  const bool is_skipped = loss_scale_.skips(result.gradient_norm);
  const std::int64_t update = loss_scale_.update_number(number);
  loss_scale_.finish_step(is_skipped);
  if (is_skipped) {
    return result;
  }
  const bool clips = clip_norm_ > 0.0 && result.gradient_norm > clip_norm_;
  stage_.optimizer().step(stage_.store(),
                          {.step = update,
                           .learning_rate = learning_rate,
                           .gradient_divisor = clips ? result.gradient_norm / clip_norm_ : 1.0});
  return result;
}

}  // namespace halfback
