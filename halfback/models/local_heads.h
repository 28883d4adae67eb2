// Losses in the middle of a model, each with its own head from a stage's output to the model's
// targets. For training with local updates, in which not all gradients come from the end of the
// model.
//
//   linear  classes: the mean of all pixels, if any, and a linear classifier;
//           tokens: a norm and a linear layer to the vocabulary, both the head's own
//   mlp-1   classes: the same with a hidden layer of as many channels, with ReLU; mlp-2: with two
//   mlp-sr  images: means over a grid of a quarter of the side; 3 x (1x1 convolution, batch norm,
//           ReLU); means over 2 x 2; 3 x (linear, batch norm, ReLU); linear
//   cnn     images: 2 x (3x3 convolution, batch norm, ReLU), to the same number of channels, then
//           half of it; the mean of all pixels; linear
//
// Sources: linear after Nokland and Eidnes, "Training Neural Networks with Local Error Signals",
// ICML 2019; mlp-sr: Belilovsky et al., "Decoupled Greedy Learning of CNNs", ICML 2020, which also
// has a head of two 3x3 convolutions; the rest of cnn: Gomez, Key et al., "Interlocking
// Backpropagation", JMLR 23(171), 2022.
#pragma once

#include "halfback/models/model.h"

#include <memory>
#include <string>
#include <vector>

namespace halfback {

enum class LocalHead { Linear, Mlp1, Mlp2, MlpSr, Cnn };

// Returns "linear", "mlp-1", "mlp-2", "mlp-sr", "cnn".
std::vector<std::string> local_head_names();

std::string to_string(LocalHead head);

// Throws ConfigError for another name, with a suggestion.
LocalHead parse_local_head(const std::string& name);

// The place of a head: the output of the stage before it for a micro-batch, and the outcomes to
// predict.
struct LocalHeadPlace {
  std::string name;  // prefix of its parameters' names
  Task task = Task::Classes;
  std::vector<std::int64_t> input_shape;
  std::int64_t num_outcomes = 0;
};

// Returns a loss whose head reads the first tensor that travels, and changes none. Parameters have
// no memory yet. Throws ConfigError for a head that the place does not admit.
std::unique_ptr<LossLayer> make_local_head(LocalHead head, const LocalHeadPlace& place);

// Returns whether a parameter of that name belongs to a local head, and not to the model.
bool is_of_local_head(const std::string& name);

// Gives stages of a model a local loss; the last keeps its own. Parameters of the head after block
// I of the model are named local_heads.I..., for any cut of the model.
void add_local_heads(const ModelConfig& config,
                     LocalHead head,
                     const std::vector<int>& stages_with_loss,
                     std::vector<StageLayers>& stages);

}  // namespace halfback
