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
  Recompute recompute = {};
  Tensors side_inputs = {};  // behind the input of every micro-batch, for 3 samples
};

inline std::ostream& operator<<(std::ostream& out, const NamedModel& model) {
  return out << model.name;
}

// Models of 8 blocks, for up to 8 stages.
inline std::vector<NamedModel> small_models() {
  using Forward = Recompute::Forward;
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
  const ResnetConfig resnet{
      .depth = 18, .width = 3, .num_classes = 5, .image_height = 9, .image_width = 7};
  ResnetConfig bottlenecks = resnet;
  bottlenecks.depth = 50;
  bottlenecks.has_small_stem = false;
  const CnnConfig cnn{.num_layers = 7,
                      .width = 1,
                      .hidden = 9,
                      .num_classes = 5,
                      .image_height = 129,
                      .image_width = 128};
  const MlpConfig mlp{.num_layers = 8, .num_inputs = 30, .width = 11, .num_classes = 5};
  const MambaConfig mamba{
      .num_layers = 8, .width = 24, .state_size = 3, .dt_rank = 2, .sequence = 7, .vocabulary = 31};
  MambaConfig tied_mamba = mamba;
  tied_mamba.has_tied_head = true;
  return {{"Resnet", resnet},
          {"ResnetBottlenecks", bottlenecks},
          {"ResnetRecomputed", resnet, {.recomputed = Forward::OfBlocks}},
          {"ResnetAllRecomputed",
           resnet,
           {.recomputed = Forward::OfBlocks, .recomputes_gradients = true}},
          {"Cnn", cnn},
          {"Mlp", mlp},
          {"MlpGradientsRecomputed", mlp, {.recomputes_gradients = true}},
          {"Llama", small_llama(8)},
          {"LlamaTied", tied},
          {"Bert", bert},
          {"BertMasked", bert, {}, {mask}},
          {"LlamaRecomputed", small_llama(8), {.recomputed = Forward::OfBlocks}},
          {"LlamaAttentionRecomputed", tied, {.recomputed = Forward::OfAttention}},
          {"LlamaGradientsRecomputed", small_llama(8), {.recomputes_gradients = true}},
          {"BertFeedForwardRecomputed",
           bert,
           {.recomputed = Forward::OfFeedForward, .recomputes_gradients = true},
           {mask}},
          {"BertAllRecomputed",
           bert,
           {.recomputed = Forward::OfBlocks, .recomputes_gradients = true},
           {mask}},
          {"BertPaper", paper},
          {"Mamba", mamba},
          {"MambaTied", tied_mamba},
          {"MambaRecomputed", mamba, {.recomputed = Forward::OfBlocks}},
          {"MambaGradientsRecomputed", mamba, {.recomputes_gradients = true}}};
}

inline Schedule schedule_of(const PipelineRequest& request) {
  return build_schedule(request.schedule, {.num_ranks = request.num_ranks,
                                           .num_micro_batches = request.num_micro_batches,
                                           .two_stage = request.two_stage});
}

}  // namespace halfback::testing
