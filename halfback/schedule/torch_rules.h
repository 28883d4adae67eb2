// What the schedule runtime of torch.distributed.pipelining (PyTorch 2.13) does with a schedule
// file: what it refuses, and what it silently runs wrongly. Every claim has a test that runs the
// real runtime (tests/python/torch_exchange.py).
#pragma once

#include "halfback/schedule/schedule.h"

#include <string>
#include <string_view>
#include <vector>

namespace halfback {

struct TorchFinding {
  enum class Kind {
    Refused,  // an error when it is loaded
    Wrong,    // wrong gradients, or ranks that wait forever
  };
  Kind kind{};
  std::string text;  // one line: where, what happens, what to do

  bool operator==(const TorchFinding&) const = default;
};

// Returns what PyTorch would refuse or run wrongly in a file with a valid schedule; nothing if it
// runs correctly. Needs the text too, because PyTorch reads blank lines, comments and cells of data
// parallelism differently. Linear in the text.
std::vector<TorchFinding> check_for_torch(const Schedule& schedule, std::string_view text);

}  // namespace halfback
