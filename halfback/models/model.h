// Any of Halfback's models, as its sizes.
#pragma once

#include "halfback/layers/stage_layers.h"
#include "halfback/models/bert.h"
#include "halfback/models/cnn.h"
#include "halfback/models/llama.h"
#include "halfback/models/mamba.h"
#include "halfback/models/mlp.h"
#include "halfback/models/model_size.h"
#include "halfback/models/resnet.h"

#include <string>
#include <variant>
#include <vector>

namespace halfback {

using ModelConfig =
    std::variant<LlamaConfig, BertConfig, MambaConfig, ResnetConfig, CnnConfig, MlpConfig>;

// What a model learns, which determines its data.
enum class Task {
  NextToken,    // token ids [N, T] to the next ones
  MaskedToken,  // token ids [N, T], some masked, to the masked ones
  Classes,      // images to their classes [N]
};

// Names of the models, as in --model.
std::vector<std::string> model_names();

// Returns the model of that name in its default sizes. Throws ConfigError for an unknown name.
ModelConfig default_model(const std::string& name);

std::string model_name(const ModelConfig& config);
Task task_of(const ModelConfig& config);

// Returns the sizes, which point into `config`.
ModelSizes sizes_of(ModelConfig& config);

// Returns the size of that name as text; empty if the model has none.
std::string size_text(ModelConfig config, const std::string& name);

// Returns the model with derived sizes (given as 0) resolved.
ModelConfig resolved(const ModelConfig& config);

// Throws ConfigError for sizes that no model can have.
void check(const ModelConfig& config);

// Returns the number of trainable parameters.
std::int64_t num_parameters(const ModelConfig& config);

// Returns how many blocks a cut distributes over the stages.
int num_blocks(const ModelConfig& config);

// Returns one line, as in "llama: 8 layers, width 256, ...: 6.45 M parameters".
std::string describe(const ModelConfig& config);

// Returns the shape of the first input for `num_samples` samples.
std::vector<std::int64_t> input_shape(const ModelConfig& config, std::int64_t num_samples);

// Returns the number of possible targets: tokens or classes.
std::int64_t num_outcomes(const ModelConfig& config);

// Returns the unit of throughput: "tokens", several per sample, or "images".
std::string item_name(const ModelConfig& config);
std::int64_t items_per_sample(const ModelConfig& config);

// The contrastive loss, if that is the local one: channels of its projection, and the divisor of
// similarities. These are SimCLR's for CIFAR-10.
struct Contrast {
  std::int64_t projection = 128;
  double temperature = 0.5;
};

// Returns the stages; stage s has blocks_per_stage[s] blocks. Parameters have no memory yet.
enum class LocalHead;  // local_heads.h
enum class LocalLoss;
struct BuildOptions {
  at::ScalarType dtype = at::kFloat;
  Recompute recompute = {};
  LocalHead local_head = {};
  LocalLoss local_loss = {};
  Contrast contrast = {};
  std::vector<int> stages_with_loss = {};  // each gets such a loss; the last a contrastive one only
};
std::vector<StageLayers> build_model(const ModelConfig& config,
                                     const std::vector<int>& blocks_per_stage,
                                     const BuildOptions& options = {});

}  // namespace halfback
