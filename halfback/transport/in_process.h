// Channels between ranks that are threads of one process: tensors change hands without a copy.
#pragma once

#include "halfback/transport/exchange.h"

#include <chrono>
#include <memory>

namespace halfback {

struct InProcessOptions {
  int num_ranks = 1;
  int capacity = 16;  // messages that a channel holds before a send waits; at least 1
  std::chrono::duration<double> timeout{60.0};
};

std::unique_ptr<Network> make_in_process_network(const InProcessOptions& options);

}  // namespace halfback
