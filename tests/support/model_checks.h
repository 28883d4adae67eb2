// What tests of whole models need: all parameters, their names in a checkpoint, batches of tokens
// out of a counter, and finite differences.
#pragma once

#include "halfback/engine/plain_run.h"
#include "halfback/layers/stage_layers.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace halfback {

std::vector<Parameter*> all_parameters(const std::vector<StageLayers>& stages);

// Returns the names in a checkpoint with their shapes.
std::map<std::string, std::vector<std::int64_t>> checkpoint_shapes(
    const std::vector<StageLayers>& stages);

// Two sequences of tokens in [0, vocabulary) with as many targets; `key` gives other ones.
MicroBatch token_batch(std::int64_t sequence, std::int64_t vocabulary, std::uint64_t key);

// A model in double on one stage.
PlainRun plain_run_of(std::vector<StageLayers> whole);

// Draws values, compares some elements of every gradient with central differences.
void expect_finite_differences(PlainRun run, const std::vector<MicroBatch>& batches);

}  // namespace halfback
