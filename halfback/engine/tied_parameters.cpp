#include "halfback/engine/tied_parameters.h"

#include "halfback/base/error.h"

#include <fmt/format.h>

#include <map>
#include <string>

namespace halfback {

std::vector<TiedPair> tied_pairs(std::span<Stage* const> stages) {
  std::map<std::string, TiedPair> originals;
  std::vector<TiedPair> pairs;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const int number = static_cast<int>(i);
    for (Parameter* const parameter : stages[i]->store().parameters()) {
      if (!parameter->is_copy) {
        originals[parameter->name] = {.stage = number, .original = parameter};
        continue;
      }
      const auto found = originals.find(parameter->name);
      if (found == originals.end() || found->second.original->shape != parameter->shape) {
        throw ConfigError(
            fmt::format("model: {} on stage {} is a copy of a parameter that no "
                        "earlier layer has",
                        parameter->name, number));
      }
      TiedPair pair = found->second;
      pair.copy_stage = number;
      pair.copy = parameter;
      pairs.push_back(pair);
    }
  }
  return pairs;
}

void copy_values(const std::vector<TiedPair>& pairs) {
  for (const TiedPair& pair : pairs) {
    pair.copy->value.copy_(pair.original->value);
  }
}

void add_gradients(const TiedPair& pair) {
  pair.original->gradient.add_(pair.copy->gradient);
  pair.copy->gradient.copy_(pair.original->gradient);
}

}  // namespace halfback
