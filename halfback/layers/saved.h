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
  std::vector<Saved> members = {};            // of the layers inside, if a layer holds others
  std::shared_ptr<AutogradGraph> graph = {};  // of a module of libtorch, until W
  Shape shape = {};                           // of the input, where no kept tensor has it
  Call call = {};                             // that of F and I, where W calls them again
  bool is_copy = false;  // for the gradient of another loss: W moves no running statistics

  bool is_empty() const;

  // Makes a Saved for each of the layers inside.
  void add_members(std::size_t count);
};

// Returns member `index` of each.
std::vector<Saved*> members_of(std::span<Saved*> saved, std::size_t index);

// Returns a copy with its own memory. Throws ConfigError with the given text if it includes a
// module of libtorch, whose graph exists only once.
Saved cloned(const Saved& saved, const std::string& refusal);

// Returns a copy of what F has kept, with its own memory, for the gradient of another loss: I, and
// W if the gradient counts, then run on each of the two. Throws ConfigError for a module of
// libtorch, whose graph runs only once.
Saved copy_for_another_gradient(const Saved& saved);

// Bytes of storage that a layer keeps of one micro-batch. A layer counts its input and its
// incoming gradient when it keeps them, never its output or the gradient that it returns, so that
// the bytes of a stage are the sum over its layers. Token ids belong to the mini-batch.
struct SavedBytes {
  std::int64_t until_input = 0;   // from F to I
  std::int64_t until_weight = 0;  // from F to W
  std::int64_t gradients = 0;     // from I to W
  bool is_exact = true;           // false: at most so many, by what the values are

  SavedBytes& operator+=(const SavedBytes& other);
  bool operator==(const SavedBytes&) const = default;
};

}  // namespace halfback
