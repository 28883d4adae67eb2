// Names inside a checkpoint.
#pragma once

#include <string_view>

namespace halfback {

inline constexpr const char* kConfigFile = "config.json";
inline constexpr const char* kTrainingStateFile = "training_state.json";
inline constexpr const char* kManifestFile = "checkpoint.json";
inline constexpr const char* kReportFile = "report.json";  // the same for the files of a report

// Files that a checkpoint inherits from the one that its run began with, if that has them.
inline constexpr const char* kInheritedFiles[] = {"generation_config.json", "chat_template.jinja",
                                                  "chat_template.json"};
inline constexpr const char* kInheritedFolder = "additional_chat_templates";  // and its files

// Prefixes of the names of tensor files.
inline constexpr const char* kModelTensors = "model";
inline constexpr const char* kStateTensors = "training_state";

// Returns whether every checkpoint may have a file of that name; the tokenizer's files are extra.
inline bool is_checkpoint_file(std::string_view name) {
  return name == kConfigFile || name == kTrainingStateFile || name == kManifestFile ||
         ((name.starts_with(kModelTensors) || name.starts_with(kStateTensors)) &&
          (name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json")));
}

}  // namespace halfback
