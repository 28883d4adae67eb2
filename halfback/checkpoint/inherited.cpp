#include "halfback/checkpoint/inherited.h"

#include "halfback/base/file.h"
#include "halfback/base/json.h"
#include "halfback/checkpoint/checkpoint_files.h"
#include "halfback/checkpoint/model_json.h"

#include <c10/core/ScalarType.h>
#include <nlohmann/json.hpp>

#include <system_error>

namespace halfback {

std::string dtype_name(at::ScalarType dtype) {
  return dtype == at::kHalf ? "float16" : dtype == at::kBFloat16 ? "bfloat16" : "float32";
}

Inherited read_inherited(const std::filesystem::path& directory, const ModelTensors& tensors) {
  Inherited all{.config = read_file(directory / kConfigFile),
                .dtypes = tensors.dtypes(),
                .tensors = tensors.others(),
                .files = {}};
  for (const char* name : kInheritedFiles) {
    std::error_code ignored;
    if (std::filesystem::exists(directory / name, ignored)) {
      all.files[name] = read_file(directory / name);
    }
  }
  std::error_code error;  // the folder may be missing
  for (const auto& entry :
       std::filesystem::directory_iterator(directory / kInheritedFolder, error)) {
    if (entry.is_regular_file()) {
      all.files[std::filesystem::path(kInheritedFolder) / entry.path().filename()] =
          read_file(entry.path());
    }
  }
  return all;
}

std::string config_text(const ModelConfig& config,
                        const Inherited& inherited,
                        std::optional<at::ScalarType> dtype) {
  const nlohmann::json ours = model_to_json(config);
  nlohmann::json json = ours;
  if (!inherited.config.empty()) {
    // A key changes if this run's model has a value there other than the inherited one.
    json = parse_json(inherited.config, kConfigFile);
    const nlohmann::json before = model_to_json(model_from_json(json, kConfigFile));
    for (const auto& [key, value] : before.items()) {
      if (!ours.contains(key)) {
        json.erase(key);
      }
    }
    for (const auto& [key, value] : ours.items()) {
      if (!before.contains(key) || before.at(key) != value) {
        json[key] = value;
      }
    }
  }
  if (dtype) {
    json[json.contains("dtype") ? "dtype" : "torch_dtype"] = dtype_name(*dtype);
  }
  return json.dump(2) + "\n";
}

}  // namespace halfback
