#include "halfback/measure/smoothness_probe.h"

#include "halfback/base/error.h"
#include "halfback/engine/kept_statistics.h"

#include <ATen/ops/lerp.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace halfback {

namespace {

constexpr int kNumPlaces = 9;

std::vector<at::Tensor> values_of(Pipeline& pipeline) {
  std::vector<at::Tensor> all;
  for (int stage = 0; stage < pipeline.num_stages(); ++stage) {
    all.push_back(pipeline.stage(stage).store().values().clone());
  }
  return all;
}

double distance(const std::vector<at::Tensor>& one, const std::vector<at::Tensor>& other) {
  double squares = 0.0;
  for (std::size_t stage = 0; stage < one.size(); ++stage) {
    squares += one[stage].sub(other[stage]).square_().sum(at::kDouble).item<double>();
  }
  return std::sqrt(squares);
}

}  // namespace

SmoothnessProbe::SmoothnessProbe(Pipeline& pipeline, std::vector<std::vector<MicroBatch>> batches)
    : pipeline_(pipeline), batches_(std::move(batches)) {
  HALFBACK_CHECK(!has_updates(pipeline.schedule()),
                 "no step begins before the one before has ended");
  HALFBACK_CHECK(!batches_.empty(), "batches for the gradient");
}

void SmoothnessProbe::note_values() {
  const c10::InferenceMode no_graph;
  before_ = values_of(pipeline_);
}

void SmoothnessProbe::set_values(double t) {
  for (std::size_t stage = 0; stage < before_.size(); ++stage) {
    pipeline_.stage(static_cast<int>(stage))
        .store()
        .values()
        .copy_(at::lerp(before_[stage], after_[stage], t));
  }
}

std::vector<at::Tensor> SmoothnessProbe::gradients() {
  std::vector<at::Tensor> sums;
  for (const std::vector<MicroBatch>& batch : batches_) {
    pipeline_.accumulate_gradients(batch);
    for (int stage = 0; stage < pipeline_.num_stages(); ++stage) {
      const at::Tensor gradient = pipeline_.stage(stage).store().gradients().to(at::kDouble);
      if (std::ssize(sums) <= stage) {
        sums.push_back(gradient.clone());
      } else {
        sums[static_cast<std::size_t>(stage)].add_(gradient);
      }
    }
  }
  for (at::Tensor& sum : sums) {
    sum.div_(static_cast<double>(batches_.size()));
  }
  return sums;
}

double SmoothnessProbe::lipschitz() {
  const c10::InferenceMode no_graph;
  HALFBACK_CHECK(!before_.empty(), "the values before the update");
  after_ = values_of(pipeline_);
  const KeptStatistics kept(pipeline_);
  const double length = distance(before_, after_);
  double largest = 0.0;
  if (length > 0.0) {
    set_values(0.0);
    const std::vector<at::Tensor> first = gradients();
    for (int place = 1; place <= kNumPlaces; ++place) {
      const double t = place / (kNumPlaces + 1.0);
      set_values(t);
      largest = std::max(largest, distance(gradients(), first) / (t * length));
    }
  }
  for (std::size_t stage = 0; stage < after_.size(); ++stage) {
    pipeline_.stage(static_cast<int>(stage)).store().values().copy_(after_[stage]);
  }
  return largest;
}

}  // namespace halfback
