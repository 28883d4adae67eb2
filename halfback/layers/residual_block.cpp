#include "halfback/layers/residual_block.h"

#include "halfback/base/error.h"
#include "halfback/layers/batch_norm.h"
#include "halfback/layers/convolution.h"
#include "halfback/layers/relu.h"
#include "halfback/layers/shapes.h"

#include <ATen/ops/add.h>

#include <utility>

namespace halfback {

namespace {

bool can_share_ends(const ResidualBlock::Branch& branch) {
  return !branch.empty() && dynamic_cast<const Convolution*>(branch.front().get()) != nullptr &&
         dynamic_cast<const BatchNorm*>(branch.back().get()) != nullptr;
}

}  // namespace

ResidualBlock::ResidualBlock(Branch main, Branch shortcut)
    : main_(std::move(main)), shortcut_(std::move(shortcut)) {
  HALFBACK_CHECK(can_share_ends(main_), "main");
  HALFBACK_CHECK(shortcut_.empty() || can_share_ends(shortcut_), "shortcut");
}

std::vector<Parameter*> ResidualBlock::parameters() {
  std::vector<Parameter*> all;
  for (const Branch* branch : {&main_, &shortcut_}) {
    for (const auto& layer : *branch) {
      const std::vector<Parameter*> some = layer->parameters();
      all.insert(all.end(), some.begin(), some.end());
    }
  }
  return all;
}

at::Tensor ResidualBlock::forward_branch(const Branch& branch,
                                         const at::Tensor& input,
                                         std::span<Saved> members) {
  at::Tensor output = input;
  for (std::size_t i = 0; i < branch.size(); ++i) {
    output = branch[i]->forward(output, members[i]);
  }
  return output;
}

at::Tensor ResidualBlock::backward_branch(const Branch& branch,
                                          const at::Tensor& grad_output,
                                          std::span<Saved> members) {
  at::Tensor gradient = grad_output;
  for (std::size_t i = branch.size(); i-- > 0;) {
    gradient = branch[i]->backward_input(gradient, members[i]);
  }
  return gradient;
}

at::Tensor ResidualBlock::forward(const at::Tensor& input, Saved& saved) {
  saved.members.assign(main_.size() + shortcut_.size(),
                       {.key = saved.key, .is_training = saved.is_training});
  const std::span<Saved> members(saved.members);
  const at::Tensor output = forward_branch(main_, input, members.first(main_.size()));
  const Relu::Passed passed =
      Relu::apply(output, forward_branch(shortcut_, input, members.subspan(main_.size())));
  saved.until_input = {passed.mask};
  return passed.output;
}

at::Tensor ResidualBlock::backward_input(const at::Tensor& grad_output, Saved& saved) {
  const at::Tensor gradient = Relu::backward(grad_output, saved.until_input.front());
  saved.until_input.clear();
  const std::span<Saved> members(saved.members);
  const at::Tensor main = backward_branch(main_, gradient, members.first(main_.size()));
  return at::add(main, backward_branch(shortcut_, gradient, members.subspan(main_.size())));
}

void ResidualBlock::backward_weight(Saved& saved) {
  Saved* one = &saved;
  backward_weight_concatenated({&one, 1});
}

void ResidualBlock::backward_weight_concatenated(std::span<Saved*> saved) {
  std::vector<Saved*> members(saved.size());
  const auto run = [&](Layer& layer, std::size_t member) {
    for (std::size_t i = 0; i < saved.size(); ++i) {
      members[i] = &saved[i]->members[member];
    }
    layer.backward_weight_concatenated(members);
  };
  for (std::size_t i = main_.size(); i-- > 0;) {
    run(*main_[i], i);
  }
  for (std::size_t i = shortcut_.size(); i-- > 0;) {
    run(*shortcut_[i], main_.size() + i);
  }
  for (Saved* one : saved) {
    one->members.clear();
  }
}

SavedBytes ResidualBlock::saved_bytes(std::span<const std::int64_t> input_shape,
                                      std::int64_t element_bytes) const {
  SavedBytes bytes;
  for (const Branch* branch : {&main_, &shortcut_}) {
    std::vector<std::int64_t> shape(input_shape.begin(), input_shape.end());
    for (const auto& layer : *branch) {
      bytes += layer->saved_bytes(shape, element_bytes);
      shape = layer->output_shape(shape);
    }
  }
  if (!shortcut_.empty()) {
    bytes.until_weight -= numel(input_shape) * element_bytes;
  }
  bytes.until_input += Relu().saved_bytes(output_shape(input_shape), element_bytes).until_input;
  return bytes;
}

std::vector<std::int64_t> ResidualBlock::output_shape(
    std::span<const std::int64_t> input_shape) const {
  std::vector<std::int64_t> shape(input_shape.begin(), input_shape.end());
  for (const auto& layer : main_) {
    shape = layer->output_shape(shape);
  }
  return shape;
}

}  // namespace halfback
