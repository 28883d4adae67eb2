// The tensors of a checkpoint under our model's names. A file may use other names: those of an
// older release, of a wrapper around the model, or of the inner model alone. Tensors that the model
// does not have are refused, since without them it would silently compute another function.
#pragma once

#include "halfback/checkpoint/safetensors.h"
#include "halfback/checkpoint/safetensors_write.h"
#include "halfback/models/model.h"

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace halfback {

// Whether the head (a task's own tensors after the last block) is the checkpoint's, or a new one
// whatever the checkpoint contains.
enum class Head { Stored, New };

// Returns the model with a new head, with as many outputs as `like` has.
ModelConfig with_new_head(const ModelConfig& config, const ModelConfig& like);

class ModelTensors {
 public:
  // `config` is the checkpoint's. Throws FileError for a tensor that is missing, that the model
  // does not take, or that occurs twice with different values (tied heads).
  ModelTensors(const std::filesystem::path& directory,
               const ModelConfig& config,
               Head head = Head::Stored);

  // Returns whether the checkpoint gives the model this tensor: all but those of a new head.
  bool contains(const std::string& name) const { return file_names_.count(name) != 0; }

  // Copies the values into `to`, converted to its type. Throws FileError for another shape and for
  // values that are not real numbers.
  void copy(const std::string& name, at::Tensor to) const;

  // The types of the values in the file, by our names.
  std::map<std::string, at::ScalarType> dtypes() const;

  // Tensors that the model does not take and that do not change what it computes, such as a BERT's
  // pooler: kept for the next checkpoint. They map the file and keep it open.
  const std::vector<NamedTensor>& others() const { return others_; }

  // What a user should know, one sentence each.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  class Reader;

  SafetensorsDirectory files_;
  std::map<std::string, std::string> file_names_;  // by ours
  std::vector<NamedTensor> others_;
  std::vector<std::string> notes_;
};

}  // namespace halfback
