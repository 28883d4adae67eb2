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

// Slots of Saved::members.
enum { kMain, kShortcut, kNumMembers };

// Checks that the first and last layers of a branch are as the header says.
ResidualBlock::Branch checked(ResidualBlock::Branch branch) {
  HALFBACK_CHECK(!branch.empty() &&
                     dynamic_cast<const Convolution*>(branch.front().get()) != nullptr &&
                     dynamic_cast<const BatchNorm*>(branch.back().get()) != nullptr,
                 "a branch from a convolution to a batch norm");
  return branch;
}

}  // namespace

ResidualBlock::ResidualBlock(Branch main, Branch shortcut)
    : main_(checked(std::move(main))),
      shortcut_(shortcut.empty() ? Branch() : checked(std::move(shortcut))) {}

std::vector<Parameter*> ResidualBlock::parameters() {
  std::vector<Parameter*> all = main_.parameters();
  const std::vector<Parameter*> some = shortcut_.parameters();
  all.insert(all.end(), some.begin(), some.end());
  return all;
}

at::Tensor ResidualBlock::forward(const at::Tensor& input, Saved& saved, const Call& call) {
  saved.add_members(kNumMembers);
  const Tensors output = main_.forward({input}, saved.members[kMain], call);
  const Tensors shortcut = shortcut_.forward({input}, saved.members[kShortcut], call);
  const Relu::Passed passed = Relu::apply(output.front(), shortcut.front());
  saved.until_input = {passed.mask};
  return passed.output;
}

at::Tensor ResidualBlock::backward_input(const at::Tensor& grad_output,
                                         Saved& saved,
                                         const Call& call) {
  const at::Tensor gradient = Relu::backward(grad_output, saved.until_input.front());
  saved.until_input.clear();
  const Tensors main = main_.backward_input({gradient}, saved.members[kMain], call);
  const Tensors shortcut = shortcut_.backward_input({gradient}, saved.members[kShortcut], call);
  return main.front().defined() ? at::add(main.front(), shortcut.front()) : at::Tensor();
}

void ResidualBlock::backward_weight(std::span<Saved*> saved) {
  std::vector<Saved*> members = members_of(saved, kMain);
  main_.backward_weight(members);
  members = members_of(saved, kShortcut);
  shortcut_.backward_weight(members);
  for (Saved* one : saved) {
    one->members.clear();
  }
}

SavedBytes ResidualBlock::saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const {
  const Described main = main_.describe({input_shape}, element_bytes);
  SavedBytes bytes = main.bytes;
  bytes += shortcut_.describe({input_shape}, element_bytes).bytes;
  if (!shortcut_.is_empty()) {
    bytes.until_weight -= numel(input_shape) * element_bytes;
  }
  bytes.until_input += Relu().saved_bytes(main.shapes.front(), element_bytes).until_input;
  return bytes;
}

Flops ResidualBlock::flops(const Shape& input_shape) const {
  Flops flops = main_.describe({input_shape}, sizeof(float)).flops;
  flops += shortcut_.describe({input_shape}, sizeof(float)).flops;
  return flops;
}

Shape ResidualBlock::output_shape(const Shape& input_shape) const {
  return main_.describe({input_shape}, sizeof(float)).shapes.front();
}

}  // namespace halfback
