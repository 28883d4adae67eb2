// One run of a study: it trains, and says what came of it.
#pragma once

#include "halfback/study/study_file.h"
#include "halfback/train/training.h"

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <functional>

namespace halfback {

// Trains to the target, to the last step or until the run diverges, and returns its row:
//
//   status                complete (reached the target, or the last step if there is no target),
//                         incomplete (it did not) or infeasible (it diverged)
//   steps                 that were done, and seconds that they took
//   step_seconds          their median
//   samples_per_step
//   flops                 of all steps and ranks, as layers state them (layers/flops.h)
//   parallel_flops        of the longest chain: what the run takes where each rank does one
//                         operation in a unit of time and messages take none (flop_costs.h)
//   sparse_flops          of all steps and ranks, those with pruned weights left out; if any are
//   loss                  of the last step
//   validation_loss       of the last validation, if any; so is validation_accuracy
//   curve                 {"step", "loss", "validation_loss", "validation_accuracy"}: lists with an
//                         entry for each validation; "loss" is the mean since the one before. With
//                         StudyMeasures::cosines also "cosines", each a list over the stages, of
//                         the gradients of the step's data at the values after it
//                         (gradient_probe.h); with StudyMeasures::lipschitz also "lipschitz", of
//                         the last update before each (smoothness_probe.h)
//   lipschitz             the mean of these
//   sent_up, sent_down    bytes of messages in a step to a rank above or below
//   activation_bytes      of each rank, the most of all steps
//
// What is not finite is null. With StudyMeasures::first_layer, a run that did not diverge writes
// `first_layer` before it returns (first_layer.h). Calls on_step at the end of each step, its
// measures included. Throws what Training throws,
// and ConfigError for measures that the schedule cannot have.
nlohmann::json train_for_study(const TrainingConfig& config,
                               const StudyTarget& target,
                               const StudyMeasures& measures = {},
                               const std::filesystem::path& first_layer = {},
                               const std::function<void(const StepReport&)>& on_step = {});

}  // namespace halfback
