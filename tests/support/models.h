// Every model, small enough for every test.
#pragma once

#include "halfback/models/model.h"
#include "halfback/schedule/families.h"
#include "tests/support/small_model.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/ones.h>

#include <ostream>
#include <string>
#include <vector>

namespace halfback::testing {

inline constexpr std::uint64_t kSeed = 42;

struct NamedModel {
  std::string name;
  ModelConfig config;
  Tensors riders = {};  // behind the input of every micro-batch, for 3 samples
};

inline std::ostream& operator<<(std::ostream& out, const NamedModel& model) {
  return out << model.name;
}

// Models of 8 blocks, for up to 8 stages.
inline std::vector<NamedModel> small_models() {
  LlamaConfig tied = small_llama(8);
  tied.has_tied_head = true;
  const BertConfig bert{.num_layers = 8,
                        .width = 24,
                        .num_heads = 4,
                        .hidden = 40,
                        .sequence = 7,
                        .vocabulary = 31,
                        .norm_epsilon = 1e-5};
  BertConfig paper = bert;
  paper.has_rms_norm = true;
  paper.has_sinusoid_positions = true;
  at::Tensor mask = at::ones({3, 7}, at::kLong);
  mask.narrow(0, 1, 1).narrow(1, 4, 3).fill_(0);
  const MambaConfig mamba{.num_layers = 8,
                          .width = 24,
                          .state_size = 3,
                          .dt_rank = 2,
                          .sequence = 7,
                          .vocabulary = 31};
  MambaConfig tied_mamba = mamba;
  tied_mamba.has_tied_head = true;
  return {{"Llama", small_llama(8)},
          {"LlamaTied", tied},
          {"Bert", bert},
          {"BertMasked", bert, {mask}},
          {"BertPaper", paper},
          {"Mamba", mamba},
          {"MambaTied", tied_mamba}};
}

inline Schedule schedule_of(const PipelineRequest& request) {
  return build_schedule(request.schedule, {.num_ranks = request.num_ranks,
                                           .num_micro_batches = request.num_micro_batches,
                                           .two_stage = request.two_stage});
}

}  // namespace halfback::testing
