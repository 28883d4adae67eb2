#include "halfback/schedule/family_parameters.h"

#include <algorithm>
#include <type_traits>

namespace halfback {

namespace {

using Shape = PipelineShape;

constexpr double kAboveZero = std::numeric_limits<double>::denorm_min();

double up_to_one(const Shape& /*shape*/) { return 1; }
double up_to_ranks(const Shape& shape) { return shape.num_ranks; }
double below_ranks(const Shape& shape) { return shape.num_ranks - 1; }
double at_least_one(const Shape& shape) { return std::max(1, shape.num_ranks); }

}  // namespace

std::optional<double> FamilyParameter::find(const Shape& shape) const {
  const auto value = [&](auto place) {
    return shape.*place ? std::optional<double>(shape.*place) : std::nullopt;
  };
  return std::visit(value, member);
}

void FamilyParameter::set(Shape& shape, double value) const {
  const auto set = [&]<typename Value>(Value Shape::*place) {
    if constexpr (std::is_arithmetic_v<Value>) {
      shape.*place = static_cast<Value>(value);
    } else {
      shape.*place = value != 0.0;
    }
  };
  std::visit(set, member);
}

const std::vector<FamilyParameter>& family_parameters() {
  // clang-format off
  static const std::vector<FamilyParameter> kParameters = {
      {.option = "--stages-per-rank", .type = "V", .help = "Stages per rank, for the looped and the wave families",
       .member = &Shape::stages_per_rank},
      {.option = "--group-size", .type = "G",
       .help = "Micro-batches that pass a stage of a rank before its next stage, for gis (N)",
       .member = &Shape::group_size, .natural = at_least_one},
      {.option = "--memory-limit", .type = "K",
       .help = "Micro-batches that a rank may hold until their W, counted on 1/N of the model, for families that "
               "search within a limit (N)",
       .member = &Shape::memory_limit, .least = kAboveZero, .range = "above 0", .natural = at_least_one},
      {.option = "--released-at-input", .type = "PART", .help = "Fraction of that memory that I frees, 0 to 1 (0)",
       .member = &Shape::released_at_input, .least = 0, .most = up_to_one, .range = "0 to {}"},
      {.option = "--stage-updates", .type = "on|off",
       .help = "Update each stage right after its last weight gradient, on or off (families of local updates: on; "
               "others: off; file: its own)",
       .member = &Shape::stage_updates, .least = 0, .most = up_to_one, .range = "0 to {}", .is_of_all = true},
      {.option = "--chunks", .type = "K", .help = "Chunks of stages, each with its own loss, for local-chunked (2)",
       .member = &Shape::chunks, .most = up_to_ranks, .range = "1 to {}"},
      {.option = "--window", .type = "W",
       .help = "Stages that the gradient of each loss passes, for local-overlapping (2)",
       .member = &Shape::window, .most = up_to_ranks, .range = "1 to {}"},
      {.option = "--distance", .type = "D",
       .help = "Train each stage by the loss D stages above it, for local-interlocking (1)",
       .member = &Shape::distance, .most = below_ranks, .range = "1 to {}"},
      {.option = "--trained", .type = "K", .help = "Number of last stages that train, for local-last (1)",
       .member = &Shape::trained, .most = up_to_ranks, .range = "1 to {}"},
  };
  // clang-format on
  return kParameters;
}

}  // namespace halfback
