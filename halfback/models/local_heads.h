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
//   shared  tokens: a norm, a scale and a bias for each word, all the head's own, around a copy of
//           the matrix at the end of the model (shared_head.h), which the pipeline refreshes
//
// What they minimize: the cross-entropy of the head ("pred"), the error of similarities within a
// micro-batch after a linear map ("sim", similarity_loss.h), or 0.01 x pred + 0.99 x sim
// ("predsim"). The map has as many channels as the stage's output and no bias: a linear layer, or a
// 3x3 convolution.
//
// Without labels: which view shows the same image ("infonce", contrastive_loss.h). Its head is the
// mean of all pixels, if any; linear, to as many channels; ReLU; linear, without bias, to those of
// the projection. The last stage has this loss too, in place of the model's own.
//
// Sources: sim, predsim and linear after Nokland and Eidnes, "Training Neural Networks with Local
// Error Signals", ICML 2019, and its authors' code; mlp-sr: Belilovsky et al., "Decoupled Greedy
// Learning of CNNs", ICML 2020, which also has a head of two 3x3 convolutions; the rest of cnn:
// Gomez, Key et al., "Interlocking Backpropagation", JMLR 23(171), 2022; infonce: Loewe et al.,
// "Putting An End to End-to-End: Gradient-Isolated Learning of Representations" (Greedy InfoMax),
// NeurIPS 2019, with the loss and the head of SimCLR, as in LoCo; shared: SOLO, arXiv
// 2609.35440, without the two Transformer blocks that it has in front.
#pragma once

#include "halfback/models/model.h"

#include <memory>
#include <string>
#include <vector>

namespace halfback {

enum class LocalHead { Linear, Mlp1, Mlp2, MlpSr, Cnn, Shared };

// Returns "linear", "mlp-1", "mlp-2", "mlp-sr", "cnn", "shared".
std::vector<std::string> local_head_names();

std::string to_string(LocalHead head);

// Throws ConfigError for another name, with a suggestion.
LocalHead parse_local_head(const std::string& name);

enum class LocalLoss { Pred, Sim, PredSim, InfoNce };

// Returns "pred", "sim", "predsim" or "infonce".
std::string to_string(LocalLoss loss);

// The place of a head: the output of the stage before it for a micro-batch, and the outcomes to
// predict.
struct LocalHeadPlace {
  std::string name;  // prefix of its parameters' names
  Task task = Task::Classes;
  std::vector<std::int64_t> input_shape;
  std::int64_t num_outcomes = 0;
  std::int64_t targets_per_sample = 0;  // if only masked words have one
};

// Returns a loss whose head reads the first tensor that travels, and changes none. Parameters have
// no memory yet. Throws ConfigError for a head that the place does not admit.
std::unique_ptr<LossLayer> make_local_head(LocalHead head, const LocalHeadPlace& place);

// The same with a map for similarities, which is named similarity, in place of the head or beside
// it.
std::unique_ptr<LossLayer> make_local_loss(LocalLoss loss,
                                           LocalHead head,
                                           const LocalHeadPlace& place);

// Returns the contrastive loss in front of the end of the model, or in place of the loss there,
// whose parameters stay as they are.
std::unique_ptr<LossLayer> make_contrastive_loss(const Contrast& contrast,
                                                 const LocalHeadPlace& place,
                                                 std::unique_ptr<LossLayer> replaced = {});

// Returns whether a parameter of that name belongs to a local head, and not to the model.
bool is_of_local_head(const std::string& name);

// Gives the stages with a loss the local loss of the options; the last keeps its own, unless that
// loss is contrastive. Throws ConfigError if it compares what the model has not. Parameters of the
// head after block I of the model are named local_heads.I..., for any cut of the model.
void add_local_heads(const ModelConfig& config,
                     const BuildOptions& options,
                     std::vector<StageLayers>& stages);

}  // namespace halfback
