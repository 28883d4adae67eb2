// A schedule in one line.
#pragma once

#include "halfback/schedule/schedule.h"

#include <string>

namespace halfback {

// Returns "1f1b-1: 4 ranks, 4 stages, 4 micro-batches, split backward", with the number of replicas
// if there are several, and with the losses if there are any inside the model.
std::string headline(const Schedule& schedule);

}  // namespace halfback
