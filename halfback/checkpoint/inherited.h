// What a checkpoint brings that training does not change, so that the checkpoints of a run that
// began with it have it again: the keys of config.json, the types of the values, tensors of other
// tasks, files for generation.
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

// Returns what the checkpoint brings. Throws FileError.
Inherited read_inherited(const std::filesystem::path& directory, const ModelTensors& tensors);

// Returns the text of a config.json: the inherited one with what the run has changed, or a new one.
// `dtype` is that of all values, where they have the same.
std::string config_text(const ModelConfig& config,
                        const Inherited& inherited,
                        std::optional<at::ScalarType> dtype);

}  // namespace halfback
