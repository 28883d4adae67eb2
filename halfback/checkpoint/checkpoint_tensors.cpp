#include "halfback/checkpoint/checkpoint_tensors.h"

#include <ATen/ops/empty_like.h>
#include <c10/core/InferenceMode.h>

namespace halfback {

namespace {

// Appends the named parts of a tensor in the shape of the parameter.
void append_parts(const Parameter& parameter,
                  const at::Tensor& whole,
                  const std::string& prefix,
                  std::vector<NamedTensor>& all) {
  if (parameter.checkpoint_rows.empty()) {
    all.push_back({prefix + parameter.name, whole});
  }
  for (const NamedRows& rows : parameter.checkpoint_rows) {
    all.push_back({prefix + rows.name, whole.narrow(0, rows.begin, rows.end - rows.begin)});
  }
}

void copy_buffer(const at::Tensor& from, at::Tensor& to) {
  if (!to.defined()) {
    to = at::empty_like(from, from.options().device(at::kCPU));
  }
  to.copy_(from);
}

}  // namespace

StageBuffers value_buffers_of(Stage& stage) {
  return {.store = &stage.store(),
          .values = stage.store().values(),
          .statistics = stage.store().statistics(),
          .state = {}};
}

StageBuffers buffers_of(Stage& stage, std::vector<ShardedBuffer>& state) {
  StageBuffers buffers = value_buffers_of(stage);
  for (ShardedBuffer& one : state) {
    buffers.state.emplace_back(one.name(), one.whole());
  }
  return buffers;
}

void copy_buffers(const StageBuffers& from, StageBuffers& to) {
  const c10::InferenceMode no_graph;
  to.store = from.store;
  copy_buffer(from.values, to.values);
  copy_buffer(from.statistics, to.statistics);
  to.state.resize(from.state.size());
  for (std::size_t k = 0; k < from.state.size(); ++k) {
    to.state[k].first = from.state[k].first;
    copy_buffer(from.state[k].second, to.state[k].second);
  }
}

std::vector<NamedTensor> value_tensors(const StageBuffers& stage, Copies copies) {
  std::vector<NamedTensor> all;
  const std::vector<Parameter*>& parameters = stage.store->parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (copies == Copies::With || !parameters[i]->is_copy) {
      const at::Tensor& buffer = parameters[i]->trains ? stage.values : stage.statistics;
      append_parts(*parameters[i], stage.store->view(buffer, i), "", all);
    }
  }
  return all;
}

std::vector<NamedTensor> state_tensors(const std::vector<StageBuffers>& stages, Copies copies) {
  std::vector<NamedTensor> all;
  const std::size_t num_kinds = stages.empty() ? 0 : stages.front().state.size();
  for (std::size_t k = 0; k < num_kinds; ++k) {
    for (const StageBuffers& stage : stages) {
      const auto& [kind, buffer] = stage.state[k];
      const std::vector<Parameter*>& parameters = stage.store->parameters();
      for (std::size_t i = 0; i < parameters.size(); ++i) {
        if (parameters[i]->trains && (copies == Copies::With || !parameters[i]->is_copy)) {
          append_parts(*parameters[i], stage.store->view(buffer, i), kind + ".", all);
        }
      }
    }
  }
  return all;
}

}  // namespace halfback
