#include "halfback/measure/gradient_probe.h"

#include "halfback/engine/kept_statistics.h"
#include "halfback/schedule/passes.h"

#include <ATen/ops/dot.h>
#include <c10/core/InferenceMode.h>

#include <cmath>

namespace halfback {

namespace {

// The stages of the run, with one loss at their end, on one rank.
Pipeline backprop_pipeline(TrainingConfig config) {
  Schedule schedule = *config.schedule;
  schedule.losses = {};
  config.schedule = make_runnable(on_one_rank(schedule));
  config.pipeline.gradient_groups = 0;
  config.pipeline.shards_optimizer = false;
  return Pipeline(build_stages(config), config.schedule, pipeline_options(config));
}

std::vector<Parameter*> parameters_of_layers(Pipeline& pipeline, int stage) {
  std::vector<Parameter*> all;
  for (const auto& layer : pipeline.stage(stage).layers().layers) {
    for (Parameter* const parameter : layer->parameters()) {
      all.push_back(parameter);
    }
  }
  return all;
}

// Nothing has added to the gradient of a parameter that no loss trains.
at::Tensor gradient_of(const Parameter& parameter) {
  return parameter.gradient.defined() && parameter.has_gradient
             ? parameter.gradient.reshape({-1}).to(at::kDouble)
             : at::Tensor();
}

double product_of(const at::Tensor& one, const at::Tensor& other) {
  return one.defined() && other.defined() ? at::dot(one, other).item<double>() : 0.0;
}

double cosine_of(const std::vector<Parameter*>& own, const std::vector<Parameter*>& other) {
  double product = 0.0;
  double squares = 0.0;
  double other_squares = 0.0;
  for (std::size_t i = 0; i < own.size(); ++i) {
    const at::Tensor mine = gradient_of(*own[i]);
    const at::Tensor theirs = gradient_of(*other[i]);
    product += product_of(mine, theirs);
    squares += product_of(mine, mine);
    other_squares += product_of(theirs, theirs);
  }
  return product / std::sqrt(squares * other_squares);
}

}  // namespace

GradientProbe::GradientProbe(const TrainingConfig& config) : backprop_(backprop_pipeline(config)) {
  backprop_.initialize(config.seed());
}

void GradientProbe::take_values(Pipeline& pipeline) {
  const int last = pipeline.num_stages() - 1;
  for (int stage = 0; stage <= last; ++stage) {
    std::vector<Parameter*> from = parameters_of_layers(pipeline, stage);
    std::vector<Parameter*> to = parameters_of_layers(backprop_, stage);
    if (stage == last) {
      for (Parameter* const one : pipeline.stage(stage).layers().loss->parameters()) {
        from.push_back(one);
      }
      for (Parameter* const one : backprop_.stage(stage).layers().loss->parameters()) {
        to.push_back(one);
      }
    }
    for (std::size_t i = 0; i < from.size(); ++i) {
      to[i]->value.copy_(from[i]->value);
      if (from[i]->mask.defined()) {
        to[i]->mask.copy_(from[i]->mask);
      }
    }
  }
}

std::vector<double> GradientProbe::cosines(Pipeline& pipeline,
                                           std::span<const MicroBatch> micro_batches) {
  const c10::InferenceMode no_graph;
  take_values(pipeline);
  const KeptStatistics kept(pipeline);
  pipeline.accumulate_gradients(micro_batches);
  backprop_.accumulate_gradients(micro_batches);
  std::vector<double> cosines;
  for (int stage = 0; stage < pipeline.num_stages(); ++stage) {
    cosines.push_back(
        cosine_of(parameters_of_layers(pipeline, stage), parameters_of_layers(backprop_, stage)));
  }
  return cosines;
}

}  // namespace halfback
