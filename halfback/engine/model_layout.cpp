#include "halfback/engine/model_layout.h"

#include "halfback/base/error.h"

#include <fmt/format.h>

#include <map>
#include <string>

namespace halfback {

ModelLayout lay_out(std::vector<StageLayers>& stages) {
  struct Original {
    TiedPair::Place place;
    const Parameter* parameter = nullptr;
    std::uint64_t number = 0;
  };
  std::map<std::string, Original> originals;
  ModelLayout layout;
  std::uint64_t number = 0;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const int stage = static_cast<int>(i);
    std::vector<std::uint64_t>& numbers = layout.numbers.emplace_back();
    for (Parameter* const parameter : stages[i].parameters()) {
      const TiedPair::Place place{stage, numbers.size()};
      numbers.push_back(number++);
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
