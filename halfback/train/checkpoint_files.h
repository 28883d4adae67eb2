// Names inside a checkpoint.
#pragma once

namespace halfback {

inline constexpr const char* kConfigFile = "config.json";  // marks a directory as a model's
inline constexpr const char* kTrainingStateFile = "training_state.json";
inline constexpr const char* kManifestFile = "checkpoint.json";

// What a checkpoint has again where the one that its run began with had it.
inline constexpr const char* kInheritedFiles[] = {"generation_config.json", "chat_template.jinja",
                                                  "chat_template.json"};

// What the files of tensors begin with.
inline constexpr const char* kModelTensors = "model";
inline constexpr const char* kStateTensors = "training_state";

}  // namespace halfback
