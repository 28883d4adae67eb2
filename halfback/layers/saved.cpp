#include "halfback/layers/saved.h"

#include "halfback/base/error.h"

#include <algorithm>
#include <map>

namespace halfback {

bool Saved::is_empty() const {
  return until_input.empty() && until_weight.empty() && !graph &&
         std::all_of(members.begin(), members.end(),
                     [](const Saved& member) { return member.is_empty(); });
}

void Saved::add_members(std::size_t count) {
  members.assign(count, {});
  for (Saved& member : members) {
    member.is_copy = is_copy;
  }
}

std::vector<Saved*> members_of(std::span<Saved*> saved, std::size_t index) {
  std::vector<Saved*> members(saved.size());
  std::transform(saved.begin(), saved.end(), members.begin(),
                 [index](Saved* one) { return &one->members[index]; });
  return members;
}

namespace {

// The copies of tensors by original: what layers share, their copies share.
using Clones = std::map<const void*, at::Tensor>;

Saved cloned(const Saved& saved, const std::string& refusal, Clones& clones) {
  if (saved.graph) {
    throw ConfigError(refusal);
  }
  Saved copy = saved;
  for (Tensors* tensors : {&copy.until_input, &copy.until_weight}) {
    for (at::Tensor& tensor : *tensors) {
      at::Tensor& clone = clones[tensor.unsafeGetTensorImpl()];
      if (tensor.defined() && !clone.defined()) {
        clone = tensor.clone();
      }
      tensor = clone;
    }
  }
  for (Saved& member : copy.members) {
    member = cloned(member, refusal, clones);
  }
  return copy;
}

void mark_as_copy(Saved& saved) {
  saved.is_copy = true;
  std::for_each(saved.members.begin(), saved.members.end(), mark_as_copy);
}

}  // namespace

Saved cloned(const Saved& saved, const std::string& refusal) {
  Clones clones;
  return cloned(saved, refusal, clones);
}

std::vector<Saved> copies_for_another_gradient(std::span<const Saved> layers) {
  Clones clones;
  std::vector<Saved> copies;
  for (const Saved& saved : layers) {
    copies.push_back(cloned(
        saved,
        "local updates: the gradients of several losses pass a module of libtorch, whose graph "
        "runs once; use layers of Halfback's own, or losses of which one passes",
        clones));
    mark_as_copy(copies.back());
  }
  return copies;
}

SavedBytes& SavedBytes::operator+=(const SavedBytes& other) {
  until_input += other.until_input;
  until_weight += other.until_weight;
  gradients += other.gradients;
  is_exact = is_exact && other.is_exact;
  return *this;
}

}  // namespace halfback
