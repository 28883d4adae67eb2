// What a checkpoint contains that training does not change, so that the checkpoints of a run that
// began with it contain it too: keys of config.json, types of the values, tensors of other tasks,
// and files for generation.
#pragma once

#include "halfback/checkpoint/model_tensors.h"
#include "halfback/models/model.h"

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace halfback {

struct Inherited {
  std::string config;                            // text of config.json; "" for a new model
  std::map<std::string, at::ScalarType> dtypes;  // of the values, by name
  std::vector<NamedTensor> tensors;              // ModelTensors::others()
  std::map<std::string, std::string> files;      // by name
};

// Returns float32, bfloat16 or float16.
std::string dtype_name(at::ScalarType dtype);

// Returns what is inherited from the checkpoint. Throws FileError.
Inherited read_inherited(const std::filesystem::path& directory, const ModelTensors& tensors);

// Returns the text of a config.json: the inherited one with the run's changes, or a new one.
// `dtype` is that of all values, if they have the same.
std::string config_text(const ModelConfig& config,
                        const Inherited& inherited,
                        std::optional<at::ScalarType> dtype);

}  // namespace halfback
