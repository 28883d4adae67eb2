// What a layer keeps of one micro-batch between its calls, in two compartments: until I and until
// W.
#pragma once

#include "halfback/layers/call.h"
#include "halfback/layers/shapes.h"

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace halfback {

class AutogradGraph;

struct Saved {
  Tensors until_input;                        // dropped by backward_input
  Tensors until_weight;                       // dropped by backward_weight
  std::vector<Saved> members = {};            // for the layers inside, if a layer holds others
  std::shared_ptr<AutogradGraph> graph = {};  // for a libtorch module, until W
  Shape shape = {};                           // of the input, if no kept tensor has it
  Call call = {};                             // the call of F and I, if W runs them again
  bool is_copy = false;  // for the gradient of another loss: W does not update running statistics

  bool is_empty() const;

  // Adds a Saved for each layer inside.
  void add_members(std::size_t count);
};

// Returns member `index` of each.
std::vector<Saved*> members_of(std::span<Saved*> saved, std::size_t index);

// Returns a copy with its own memory; what is one tensor here is one there. Throws ConfigError with
// the given text if it includes a libtorch module, whose graph cannot be copied.
Saved cloned(const Saved& saved, const std::string& refusal);

// Returns a copy of what the layers of a stage have kept in F, with its own memory, for the
// gradient of another loss: I, and W if the gradient counts, then run on both. Throws ConfigError
// for a libtorch module, whose graph runs only once.
std::vector<Saved> copies_for_another_gradient(std::span<const Saved> layers);

// Bytes of storage that a layer keeps for one micro-batch. A layer counts its input and its
// incoming gradient when it keeps them, never its output or the gradient that it returns, so that
// the bytes of a stage are the sum over its layers. Token ids belong to the mini-batch.
struct SavedBytes {
  std::int64_t until_input = 0;   // from F to I
  std::int64_t until_weight = 0;  // from F to W
  std::int64_t gradients = 0;     // from I to W
  bool is_exact = true;           // false: upper bounds, since the bytes depend on values

  SavedBytes& operator+=(const SavedBytes& other);
  bool operator==(const SavedBytes&) const = default;
};

}  // namespace halfback
