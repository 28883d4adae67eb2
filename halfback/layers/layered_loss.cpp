#include "halfback/layers/layered_loss.h"

#include <utility>

namespace halfback {

namespace {

// Slots of Saved::members.
enum { kLayers, kLoss, kNumMembers };

using Parameters = std::vector<Parameter*>;

}  // namespace

LayeredLoss::LayeredLoss(std::vector<std::unique_ptr<Layer>> layers,
                         std::unique_ptr<LossLayer> loss,
                         std::unique_ptr<LossLayer> replaced)
    : layers_(std::move(layers)), loss_(std::move(loss)), replaced_(std::move(replaced)) {
  for (Parameter* const parameter : replaced_ ? replaced_->parameters() : Parameters()) {
    parameter->decays = false;
  }
}

std::vector<Parameter*> LayeredLoss::parameters() {
  Parameters all = replaced_ ? replaced_->parameters() : Parameters();
  for (const Parameters& more : {layers_.parameters(), loss_->parameters()}) {
    all.insert(all.end(), more.begin(), more.end());
  }
  return all;
}

double LayeredLoss::forward(const at::Tensor& input,
                            const at::Tensor& targets,
                            Saved& saved,
                            const Call& call) {
  saved.add_members(kNumMembers);
  const Tensors outputs = layers_.forward({input}, saved.members[kLayers], call);
  return loss_->forward(outputs.front(), targets, saved.members[kLoss], call);
}

std::int64_t LayeredLoss::num_correct(const Saved& saved) const {
  return loss_->num_correct(saved.members[kLoss]);
}

at::Tensor LayeredLoss::backward_input(double scale, Saved& saved, const Call& call) {
  return layers_
      .backward_input({loss_->backward_input(scale, saved.members[kLoss], call)},
                      saved.members[kLayers], call)
      .front();
}

void LayeredLoss::backward_weight(std::span<Saved*> saved) {
  std::vector<Saved*> members = members_of(saved, kLoss);
  loss_->backward_weight(members);
  members = members_of(saved, kLayers);
  layers_.backward_weight(members);
  for (Saved* const one : saved) {
    one->members.clear();
  }
}

SavedBytes LayeredLoss::saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const {
  Described layers = layers_.describe({input_shape}, element_bytes);
  layers.bytes += loss_->saved_bytes(layers.shapes.front(), element_bytes);
  return layers.bytes;
}

Flops LayeredLoss::flops(const Shape& input_shape) const {
  Described layers = layers_.describe({input_shape}, sizeof(float));
  layers.flops += loss_->flops(layers.shapes.front());
  return layers.flops;
}

}  // namespace halfback
