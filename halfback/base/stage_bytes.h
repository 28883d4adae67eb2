// Bytes that a stage keeps and passes on for one micro-batch, and bytes that it holds permanently.
// Layers state them, and the memory model adds them up along a schedule.
#pragma once

#include <cstdint>

namespace halfback {

// The part of a local head in what its stage keeps.
struct HeadBytes {
  std::int64_t until_input = 0;
  std::int64_t until_weight = 0;
  std::int64_t gradients = 0;

  bool operator==(const HeadBytes&) const = default;
};

struct StageBytes {
  std::int64_t until_input = 0;         // kept from F, freed by I or B
  std::int64_t until_weight = 0;        // kept from F, freed by W or B
  std::int64_t gradients = 0;           // kept from I, freed by W; B keeps none
  std::int64_t activation_message = 0;  // the stage's input, from its arrival until F takes it
  std::int64_t gradient_message = 0;    // the gradient of its output, until I or B takes it
  HeadBytes head = {};                  // included in the first three
  bool is_exact = true;                 // false: these are upper bounds

  bool operator==(const StageBytes&) const = default;
};

// Bytes that one replica of a stage, or a rank with all its stages, holds permanently.
struct StateBytes {
  std::int64_t parameters = 0;
  std::int64_t gradients = 0;  // of the parameters
  std::int64_t optimizer = 0;

  std::int64_t total() const { return parameters + gradients + optimizer; }
  bool operator==(const StateBytes&) const = default;
};

}  // namespace halfback
