// What tests of checkpoints compare, and a small stage that a checkpoint holds.
#pragma once

#include "halfback/checkpoint/checkpoint.h"
#include "halfback/engine/pipeline.h"
#include "halfback/models/llama.h"
#include "tests/support/parameter_numbers.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

namespace halfback::testing {

inline StageList stages_of(Pipeline& pipeline) {
  StageList stages;
  for (int number = 0; number < pipeline.num_stages(); ++number) {
    stages.push_back(&pipeline.stage(number));
  }
  return stages;
}

// The optimizer's state by kind, parameter after parameter in model order.
inline std::map<std::string, std::string> state_bytes(Pipeline& pipeline) {
  std::map<std::string, std::string> bytes;
  for (Stage* const stage : stages_of(pipeline)) {
    for (const auto& [kind, buffer] : stage->optimizer().state()) {
      for (std::size_t i = 0; i < stage->store().parameters().size(); ++i) {
        const at::Tensor part = stage->store().view(buffer, i).contiguous();
        bytes[kind].append(static_cast<const char*>(part.const_data_ptr()), part.nbytes());
      }
    }
  }
  return bytes;
}

// A model of one stage whose checkpoint takes less than a small disk.
class TinyStage {
 public:
  static LlamaConfig config() {
    return {.num_layers = 1,
            .width = 8,
            .num_heads = 4,
            .num_key_value_heads = 2,
            .hidden = 8,
            .sequence = 7,
            .vocabulary = 31};
  }
  explicit TinyStage(std::uint64_t seed = 1) { draw(seed); }

  void draw(std::uint64_t seed) {
    stage_.store().initialize(seed, numbers_from(0, stage_.store()));
  }
  StageList list() { return {&stage_}; }
  std::vector<StageBuffers> buffers() {
    std::vector<ShardedBuffer> state = stage_.update_state();
    return {buffers_of(stage_, state)};
  }
  Stage& stage() { return stage_; }

 private:
  Stage stage_{std::move(build_llama(config(), {1}).front()), {}};
};

}  // namespace halfback::testing
