#include "halfback/layers/layered_loss.h"

#include <algorithm>
#include <utility>

namespace halfback {

namespace {

// Of Saved::members.
enum { kLayers, kLoss, kNumMembers };

std::vector<Saved*> members(std::span<Saved*> saved, std::size_t member) {
  std::vector<Saved*> some(saved.size());
  std::transform(saved.begin(), saved.end(), some.begin(),
                 [member](Saved* one) { return &one->members[member]; });
  return some;
}

}  // namespace

LayeredLoss::LayeredLoss(std::vector<std::unique_ptr<Layer>> layers,
                         std::unique_ptr<LossLayer> loss)
    : layers_(std::move(layers)), loss_(std::move(loss)) {}

std::vector<Parameter*> LayeredLoss::parameters() {
  std::vector<Parameter*> all = layers_.parameters();
  const std::vector<Parameter*> last = loss_->parameters();
  all.insert(all.end(), last.begin(), last.end());
  return all;
}

double LayeredLoss::forward(const at::Tensor& input, const at::Tensor& targets, Saved& saved) {
  saved.members.resize(kNumMembers);
  for (Saved& member : saved.members) {
    member.key = saved.key;
    member.is_training = saved.is_training;
    member.is_copy = saved.is_copy;
  }
  return loss_->forward(layers_.forward(input, saved.members[kLayers]), targets,
                        saved.members[kLoss]);
}

std::int64_t LayeredLoss::num_correct(const Saved& saved) const {
  return loss_->num_correct(saved.members[kLoss]);
}

at::Tensor LayeredLoss::backward_input(double scale, Saved& saved) {
  return layers_.backward_input(loss_->backward_input(scale, saved.members[kLoss]),
                                saved.members[kLayers]);
}

void LayeredLoss::backward_weight(Saved& saved) {
  loss_->backward_weight(saved.members[kLoss]);
  layers_.backward_weight(saved.members[kLayers]);
  saved.members.clear();
}

void LayeredLoss::backward_weight_concatenated(std::span<Saved*> saved) {
  std::vector<Saved*> some = members(saved, kLoss);
  loss_->backward_weight_concatenated(some);
  some = members(saved, kLayers);
  layers_.backward_weight_concatenated(some);
  for (Saved* const one : saved) {
    one->members.clear();
  }
}

SavedBytes LayeredLoss::saved_bytes(std::span<const std::int64_t> input_shape,
                                    std::int64_t element_bytes) const {
  SavedBytes bytes = layers_.saved_bytes(input_shape, element_bytes);
  bytes += loss_->saved_bytes(layers_.output_shape(input_shape), element_bytes);
  return bytes;
}

}  // namespace halfback
