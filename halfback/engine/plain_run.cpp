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
                   const UpdateOptions& update,
                   std::vector<std::size_t> num_parameters)
    : PlainRun(list_of(std::move(whole)), options, update, std::move(num_parameters)) {}

PlainRun::PlainRun(std::vector<StageLayers> whole,
                   const Stage::Options& options,
                   const UpdateOptions& update,
                   std::vector<std::size_t> num_parameters)
    : layout_(lay_out(whole)),
      gradient_groups_(options.gradient_groups),
      stage_(std::move(whole.front()), options),
      update_(update),
      loss_scale_(update.loss_scale),
      num_parameters_(std::move(num_parameters)) {}

void PlainRun::initialize(std::uint64_t seed) {
  const c10::InferenceMode no_graph;
  stage_.store().initialize(seed, layout_.numbers.front());
}

PlainRun::Result PlainRun::accumulate_gradients(std::span<const MicroBatch> micro_batches,
                                                std::int64_t number) {
  const c10::InferenceMode no_graph;
  const double targets = loss_divisor(micro_batches);
  stage_.begin_step(number);
  const double scale = loss_scale_.value() / targets;
  double loss = 0.0;
  std::vector<int> all(micro_batches.size());
  std::iota(all.begin(), all.end(), 0);
  for (std::size_t i = 0; i < micro_batches.size(); ++i) {
    const int index = all[i];
    loss += stage_.forward(index, micro_batches[i].inputs, micro_batches[i].targets).loss;
    stage_.backward_input({.micro_batch = index}, {}, scale);
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
  stage_.finish_gradients();
  stage_.store().scale_gradients(1.0 / loss_scale_.value());
  return {.loss = loss / targets,
          .gradient_norm = norm_of(stage_.store().squared_gradient_norms())};
}

void PlainRun::clip_stages() {
  const std::vector<double> squares = stage_.store().squared_gradient_norms();
  std::size_t first = 0;
  for (const std::size_t count : num_parameters_) {
    const double norm = norm_of(std::span(squares).subspan(first, count));
    // The optimizer, too, divides by a float.
    const auto divisor = static_cast<float>(clip_divisor(norm, update_.clip_norm));
    for (std::size_t i = first; i < first + count; ++i) {
      if (Parameter* const parameter = stage_.store().parameters()[i]; parameter->trains) {
        parameter->gradient.div_(divisor);
      }
    }
    first += count;
  }
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
  const bool is_whole = update_.clip_scope == ClipScope::Model;
  if (!is_whole) {
    clip_stages();
  }
  stage_.optimizer().step(
      stage_.store(),
      {.step = update,
       .learning_rate = learning_rate,
       .gradient_divisor = is_whole ? clip_divisor(result.gradient_norm, update_.clip_norm) : 1.0});
  return result;
}

}  // namespace halfback
