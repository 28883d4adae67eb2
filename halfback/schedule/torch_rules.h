// What the schedule runtime of torch.distributed.pipelining makes of a schedule file: what it
// refuses, and what it runs wrongly without a word. Of PyTorch 2.13; every claim has a test that
// runs the real one (tests/python/torch_exchange.py).
#pragma once

#include "halfback/schedule/schedule.h"

#include <string>
#include <string_view>
#include <vector>

namespace halfback {

struct TorchFinding {
  enum class Kind {
    Refused,  // an error when it is loaded
    Wrong,    // other gradients, or ranks that wait for ever
  };
  Kind kind{};
  std::string text;  // one line, with where, what happens, what to do

  bool operator==(const TorchFinding&) const = default;
};

// Returns what PyTorch would refuse or run wrongly of a file that holds a valid schedule, given its
// text too: PyTorch reads blank lines, comments and cells of data parallelism otherwise than we do.
// Nothing where it runs as it should. Linear in the text.
std::vector<TorchFinding> check_for_torch(const Schedule& schedule, std::string_view text);

}  // namespace halfback
