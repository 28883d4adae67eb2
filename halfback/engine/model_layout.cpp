#include "halfback/engine/model_layout.h"

#include "halfback/base/error.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <string>

namespace halfback {

namespace {

// Returns the number of parameters of a stage that belong to the model.
std::size_t num_parameters_without_head(const std::vector<StageLayers>& stages, std::size_t stage) {
  const StageLayers& layers = stages[stage];
  const std::size_t count = layers.parameters().size();
  return layers.loss && stage + 1 < stages.size() ? count - layers.loss->parameters().size()
                                                  : count;
}

std::size_t num_parameters_without_heads(const std::vector<StageLayers>& stages) {
  std::size_t count = 0;
  for (std::size_t stage = 0; stage < stages.size(); ++stage) {
    count += num_parameters_without_head(stages, stage);
  }
  return count;
}

// Returns the stages whose heads read a copy of the last stage's output matrix.
std::vector<int> readers_of(const std::vector<StageLayers>& stages) {
  const Parameter* const matrix =
      stages.back().loss ? stages.back().loss->output_matrix() : nullptr;
  std::vector<int> readers;
  for (int stage = 0; stage + 1 < static_cast<int>(stages.size()); ++stage) {
    const auto& head = stages[static_cast<std::size_t>(stage)].loss;
    const Parameter* const copy = head ? head->output_matrix() : nullptr;
    if (copy == nullptr || copy->trains) {
      continue;
    }
    if (matrix == nullptr || matrix->shape != copy->shape) {
      throw ConfigError(fmt::format(
          "model: the head of stage {} reads a copy of the output matrix, [{}], and the last stage "
          "has {}; use another local head",
          stage, fmt::join(copy->shape, ", "),
          matrix == nullptr ? "none" : fmt::format("one of [{}]", fmt::join(matrix->shape, ", "))));
    }
    readers.push_back(stage);
  }
  return readers;
}

}  // namespace

ModelLayout lay_out(std::vector<StageLayers>& stages) {
  struct Original {
    TiedPair::Place place;
    const Parameter* parameter = nullptr;
    std::uint64_t number = 0;
  };
  std::map<std::string, Original> originals;
  ModelLayout layout;
  std::uint64_t number = 0;
  std::uint64_t head_number = num_parameters_without_heads(stages);
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const int stage = static_cast<int>(i);
    std::vector<std::uint64_t>& numbers = layout.numbers.emplace_back();
    const std::size_t first_of_head = num_parameters_without_head(stages, i);
    for (Parameter* const parameter : stages[i].parameters()) {
      const TiedPair::Place place{stage, numbers.size()};
      numbers.push_back(numbers.size() < first_of_head ? number++ : head_number++);
      if (!parameter->is_copy) {
        originals[parameter->name] = {place, parameter, numbers.back()};
        continue;
      }
      const auto found = originals.find(parameter->name);
      if (found == originals.end() || found->second.parameter->shape != parameter->shape) {
        throw ConfigError(
            fmt::format("model: {} on stage {} is a copy of a parameter that no "
                        "earlier layer has in that shape; put its original before it",
                        parameter->name, stage));
      }
      parameter->init = found->second.parameter->init;
      numbers.back() = found->second.number;
      layout.tied.push_back({.original = found->second.place, .copy = place});
    }
  }
  layout.readers = readers_of(stages);
  return layout;
}

}  // namespace halfback
