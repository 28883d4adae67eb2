#include "halfback/engine/model_layout.h"

#include "halfback/base/error.h"

#include <fmt/format.h>

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
  return layout;
}

}  // namespace halfback
